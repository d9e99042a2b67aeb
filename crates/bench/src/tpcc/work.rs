//! The five transactions (clauses 2.4 to 2.8).

use super::random::{ORIGINAL, Random};
use super::schema::{Customer, District, History, Item, Key, Order, OrderLine, Row, Stock, Table, Warehouse};
use super::{DISTRICTS, Placed};
use crate::Result;
use crate::transactional::{End, Transaction, Transactional};

/// The five, in the order of their weights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Enters an order.
    NewOrder,
    /// Books a customer's payment.
    Payment,
    /// Looks at a customer's last order.
    OrderStatus,
    /// Delivers the oldest order of each district.
    Delivery,
    /// Counts what is short in stock.
    StockLevel,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 5] =
        [Kind::NewOrder, Kind::Payment, Kind::OrderStatus, Kind::Delivery, Kind::StockLevel];

    /// Of a hundred transactions (clause 5.2.3).
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.uniform(1, 100) {
            1..=45 => Kind::NewOrder,
            46..=88 => Kind::Payment,
            89..=92 => Kind::OrderStatus,
            93..=96 => Kind::Delivery,
            _ => Kind::StockLevel,
        }
    }

    /// Whether it writes nothing.
    #[must_use]
    pub fn is_read_only(self) -> bool {
        matches!(self, Kind::OrderStatus | Kind::StockLevel)
    }

    /// As the specification calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::NewOrder => "New-Order",
            Kind::Payment => "Payment",
            Kind::OrderStatus => "Order-Status",
            Kind::Delivery => "Delivery",
            Kind::StockLevel => "Stock-Level",
        }
    }
}

/// Who a customer is: by number, or by last name.
pub(super) enum Who {
    Number(u32),
    LastName(String),
}

/// A line of a new order, as the terminal enters it.
pub(super) struct Line {
    item: u32,
    supply_w: u32,
    quantity: u32,
}

/// What a terminal has entered. It is the same for each try.
pub(super) enum Input {
    NewOrder { w: u32, d: u32, c: u32, lines: Vec<Line>, now: u64 },
    Payment { w: u32, d: u32, customer: (u32, u32, Who), amount: i64, now: u64, history: [u32; 3] },
    OrderStatus { w: u32, d: u32, customer: Who },
    Delivery { w: u32, carrier: u32, now: u64 },
    StockLevel { w: u32, d: u32, threshold: u32 },
}

/// An item number that nobody has: one new order of a hundred asks for it and is rolled back.
const UNUSED_ITEM: u32 = u32::MAX;

impl Input {
    /// What a terminal of a warehouse enters. `history` names what a payment leaves there.
    pub(super) fn draw(
        kind: Kind,
        random: &mut Random,
        (w, home_d, warehouses): (u32, u32, u32),
        now: u64,
        history: [u32; 3],
    ) -> Self {
        let d = random.uniform(1, DISTRICTS);
        match kind {
            Kind::NewOrder => {
                let c = random.customer();
                let mut lines: Vec<Line> = (0..random.uniform(5, 15))
                    .map(|_| Line {
                        item: random.item(),
                        supply_w: if random.percent(1) { other(random, w, warehouses) } else { w },
                        quantity: random.uniform(1, 10),
                    })
                    .collect();
                if random.percent(1)
                    && let Some(last) = lines.last_mut()
                {
                    last.item = UNUSED_ITEM;
                }
                Input::NewOrder { w, d, c, lines, now }
            }
            Kind::Payment => {
                let (c_w, c_d) = match random.percent(85) {
                    true => (w, d),
                    false => (other(random, w, warehouses), random.uniform(1, DISTRICTS)),
                };
                let customer = (c_w, c_d, Who::draw(random));
                let amount = i64::from(random.uniform(100, 500_000));
                Input::Payment { w, d, customer, amount, now, history }
            }
            Kind::OrderStatus => Input::OrderStatus { w, d, customer: Who::draw(random) },
            Kind::Delivery => Input::Delivery { w, carrier: random.uniform(1, 10), now },
            Kind::StockLevel => Input::StockLevel { w, d: home_d, threshold: random.uniform(10, 20) },
        }
    }

    /// Carries it out. A New-Order that is not rolled back says which order it `placed`.
    pub(super) fn run(&self, txn: &mut dyn Transaction, placed: &mut Option<Placed>) -> Result<End> {
        let mut tables = Tables { txn, value: Vec::new() };
        *placed = None;
        match self {
            Input::NewOrder { w, d, c, lines, now } => {
                let order = new_order(&mut tables, *w, *d, *c, lines, *now)?;
                *placed = order.map(|order| [*w, *d, order]);
                return Ok(if order.is_some() { End::Commit } else { End::Rollback });
            }
            Input::Payment { w, d, customer: (c_w, c_d, who), amount, now, history } => {
                payment(&mut tables, (*w, *d), (*c_w, *c_d, who), *amount, *now, *history)?;
            }
            Input::OrderStatus { w, d, customer } => order_status(&mut tables, *w, *d, customer)?,
            Input::Delivery { w, carrier, now } => {
                for d in 1..=DISTRICTS {
                    deliver(&mut tables, *w, d, *carrier, *now)?;
                }
            }
            Input::StockLevel { w, d, threshold } => {
                stock_level(&mut tables, *w, *d, *threshold)?;
            }
        }
        Ok(End::Commit)
    }
}

impl Who {
    fn draw(random: &mut Random) -> Self {
        if random.percent(60) { Who::LastName(random.last_name()) } else { Who::Number(random.customer()) }
    }
}

/// Whether an order is there with all its lines.
pub(super) fn is_there(txn: &mut dyn Transaction, order: &Placed) -> Result<bool> {
    let mut tables = Tables { txn, value: Vec::new() };
    let Some(row) = tables.find::<Order>(&Key::of(Table::Order, order), false)? else { return Ok(false) };
    let lines: Vec<(_, OrderLine)> = tables.rows(&Key::of(Table::OrderLine, order), false, usize::MAX)?;
    Ok(lines.len() == row.lines as usize)
}

/// Counts the runs on a database; the number of this one.
pub(super) fn begin_run(engine: &dyn Transactional) -> Result<u32> {
    let key = Key::of(Table::Runs, &[]);
    let mut nth = 0;
    engine.transact(false, &mut |txn| {
        let mut tables = Tables { txn, value: Vec::new() };
        nth = tables.find::<u32>(&key, true)?.unwrap_or_default() + 1;
        tables.put(&key, &nth)?;
        Ok(End::Commit)
    })?;
    Ok(nth)
}

/// Another warehouse, if there is one.
fn other(random: &mut Random, w: u32, warehouses: u32) -> u32 {
    match warehouses {
        0 | 1 => w,
        n => (w + random.uniform(1, n - 1) - 1) % n + 1,
    }
}

/// A transaction with rows for bytes.
pub(super) struct Tables<'t> {
    pub(super) txn: &'t mut dyn Transaction,
    pub(super) value: Vec<u8>,
}

impl Tables<'_> {
    fn find<R: Row>(&mut self, key: &Key, for_update: bool) -> Result<Option<R>> {
        match self.txn.get(&key.0, for_update, &mut self.value)? {
            true => R::decode(&self.value).map(Some),
            false => Ok(None),
        }
    }

    fn row<R: Row>(&mut self, key: &Key, for_update: bool) -> Result<R> {
        let row = self.find(key, for_update)?;
        row.ok_or_else(|| format!("TPC-C: the row {:?} is missing", key.0).into())
    }

    fn put(&mut self, key: &Key, row: &impl Row) -> Result<()> {
        self.txn.put(&key.0, &row.encode())
    }

    /// All rows whose keys begin with `prefix`, at most `limit`.
    pub(super) fn rows<R: Row>(
        &mut self,
        prefix: &Key,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, R)>> {
        let mut rows = Vec::new();
        self.txn.scan(&prefix.0, &prefix.end().0, reverse, limit, &mut |key, value| {
            rows.push((key.to_vec(), R::decode(value)?));
            Ok(())
        })?;
        Ok(rows)
    }

    /// The customer's number; of several with the name the middle one, by first names (clause 2.5.2.2).
    fn customer(&mut self, w: u32, d: u32, who: &Who) -> Result<u32> {
        match who {
            Who::Number(c) => Ok(*c),
            Who::LastName(last) => {
                let found: Vec<(Vec<u8>, u32)> =
                    self.rows(&Key::by_name(w, d, last, None), false, usize::MAX)?;
                let middle = found.len().div_ceil(2).checked_sub(1);
                middle.map(|at| found[at].1).ok_or_else(|| format!("TPC-C: nobody is called {last}").into())
            }
        }
    }
}

/// The number of the order, if all its items exist.
fn new_order(
    tables: &mut Tables<'_>,
    w: u32,
    d: u32,
    c: u32,
    lines: &[Line],
    now: u64,
) -> Result<Option<u32>> {
    let warehouse: Warehouse = tables.row(&Key::of(Table::Warehouse, &[w]), false)?;
    let customer: Customer = tables.row(&Key::of(Table::Customer, &[w, d, c]), false)?;
    let district_key = Key::of(Table::District, &[w, d]);
    let mut district: District = tables.row(&district_key, true)?;
    let o = district.next_order;
    district.next_order += 1;
    tables.put(&district_key, &district)?;
    let all_local = u32::from(lines.iter().all(|line| line.supply_w == w));
    let order = Order { customer: c, entered: now, carrier: 0, lines: lines.len() as u32, all_local };
    tables.put(&Key::of(Table::Order, &[w, d, o]), &order)?;
    tables.put(&Key::of(Table::OrderByCustomer, &[w, d, c, o]), &o)?;
    tables.put(&Key::of(Table::NewOrder, &[w, d, o]), &o)?;
    let (mut total, mut brands) = (0, 0);
    for (n, line) in (1..).zip(lines) {
        let Some(item) = tables.find::<Item>(&Key::of(Table::Item, &[line.item]), false)? else {
            return Ok(None);
        };
        let stock_key = Key::of(Table::Stock, &[line.supply_w, line.item]);
        let mut stock: Stock = tables.row(&stock_key, true)?;
        stock.quantity = match stock.quantity.checked_sub(line.quantity) {
            Some(left) if left >= 10 => left,
            _ => stock.quantity + 91 - line.quantity,
        };
        stock.ytd += line.quantity;
        stock.orders += 1;
        stock.remotes += u32::from(line.supply_w != w);
        tables.put(&stock_key, &stock)?;
        let amount = i64::from(line.quantity) * item.price;
        total += amount;
        let at = (d as usize - 1) * 24;
        let row = OrderLine {
            item: line.item,
            supply_w: line.supply_w,
            delivered: 0,
            quantity: line.quantity,
            amount,
            dist_info: stock.dists.get(at..at + 24).unwrap_or_default().to_owned(),
        };
        tables.put(&Key::of(Table::OrderLine, &[w, d, o, n]), &row)?;
        brands += u32::from(item.data.contains(ORIGINAL) && stock.data.contains(ORIGINAL));
    }
    // What the terminal would show.
    let taxed =
        total * i64::from(10_000 - customer.discount) * i64::from(10_000 + warehouse.tax + district.tax);
    std::hint::black_box((taxed, brands));
    Ok(Some(o))
}

fn payment(
    tables: &mut Tables<'_>,
    (w, d): (u32, u32),
    (c_w, c_d, who): (u32, u32, &Who),
    amount: i64,
    now: u64,
    [nth_run, terminal, number]: [u32; 3],
) -> Result<()> {
    let warehouse_key = Key::of(Table::Warehouse, &[w]);
    let mut warehouse: Warehouse = tables.row(&warehouse_key, true)?;
    warehouse.ytd += amount;
    tables.put(&warehouse_key, &warehouse)?;
    let district_key = Key::of(Table::District, &[w, d]);
    let mut district: District = tables.row(&district_key, true)?;
    district.ytd += amount;
    tables.put(&district_key, &district)?;
    let c = tables.customer(c_w, c_d, who)?;
    let customer_key = Key::of(Table::Customer, &[c_w, c_d, c]);
    let mut customer: Customer = tables.row(&customer_key, true)?;
    customer.balance -= amount;
    customer.ytd_payment += amount;
    customer.payments += 1;
    if customer.credit == "BC" {
        customer.data = format!("{c} {c_d} {c_w} {d} {w} {amount}|{}", customer.data);
        customer.data.truncate(500);
    }
    tables.put(&customer_key, &customer)?;
    let data = format!("{}    {}", warehouse.name, district.name);
    let history = History { customer: c, customer_d: c_d, customer_w: c_w, date: now, amount, data };
    tables.put(&Key::of(Table::History, &[w, d, nth_run, terminal, number]), &history)
}

fn order_status(tables: &mut Tables<'_>, w: u32, d: u32, who: &Who) -> Result<()> {
    let c = tables.customer(w, d, who)?;
    let customer: Customer = tables.row(&Key::of(Table::Customer, &[w, d, c]), false)?;
    let last: Vec<(Vec<u8>, u32)> = tables.rows(&Key::of(Table::OrderByCustomer, &[w, d, c]), true, 1)?;
    if let [(_, o)] = last[..] {
        let order: Order = tables.row(&Key::of(Table::Order, &[w, d, o]), false)?;
        let lines: Vec<(Vec<u8>, OrderLine)> =
            tables.rows(&Key::of(Table::OrderLine, &[w, d, o]), false, usize::MAX)?;
        if lines.len() != order.lines as usize {
            return Err(
                format!("TPC-C: order {o} of {w}/{d} has {} lines of {}", lines.len(), order.lines).into()
            );
        }
    }
    std::hint::black_box(customer.balance);
    Ok(())
}

fn deliver(tables: &mut Tables<'_>, w: u32, d: u32, carrier: u32, now: u64) -> Result<()> {
    let oldest: Vec<(Vec<u8>, u32)> = tables.rows(&Key::of(Table::NewOrder, &[w, d]), false, 1)?;
    let [(key, o)] = &oldest[..] else { return Ok(()) };
    tables.txn.delete(key)?;
    let order_key = Key::of(Table::Order, &[w, d, *o]);
    let mut order: Order = tables.row(&order_key, true)?;
    order.carrier = carrier;
    tables.put(&order_key, &order)?;
    let mut amount = 0;
    let lines: Vec<(Vec<u8>, OrderLine)> =
        tables.rows(&Key::of(Table::OrderLine, &[w, d, *o]), false, usize::MAX)?;
    for (key, mut line) in lines {
        line.delivered = now;
        amount += line.amount;
        tables.put(&Key(key), &line)?;
    }
    let customer_key = Key::of(Table::Customer, &[w, d, order.customer]);
    let mut customer: Customer = tables.row(&customer_key, true)?;
    customer.balance += amount;
    customer.deliveries += 1;
    tables.put(&customer_key, &customer)
}

/// How many items of the district's last twenty orders are short.
fn stock_level(tables: &mut Tables<'_>, w: u32, d: u32, threshold: u32) -> Result<usize> {
    let district: District = tables.row(&Key::of(Table::District, &[w, d]), false)?;
    let from = Key::of(Table::OrderLine, &[w, d, district.next_order.saturating_sub(20)]);
    let to = Key::of(Table::OrderLine, &[w, d, district.next_order]);
    let mut items = Vec::new();
    tables.txn.scan(&from.0, &to.0, false, usize::MAX, &mut |_, value| {
        items.push(OrderLine::decode(value)?.item);
        Ok(())
    })?;
    items.sort_unstable();
    items.dedup();
    let mut short = 0;
    for item in items {
        let stock: Stock = tables.row(&Key::of(Table::Stock, &[w, item]), false)?;
        short += usize::from(stock.quantity < threshold);
    }
    Ok(short)
}

#[cfg(test)]
impl Input {
    /// Of a new order: its lines, those that another warehouse than `home` supplies, and whether its last item is
    /// nobody's.
    pub(super) fn lines(&self, home: u32) -> (usize, usize, bool) {
        let Input::NewOrder { lines, .. } = self else { return (0, 0, false) };
        let remote = lines.iter().filter(|line| line.supply_w != home).count();
        (lines.len(), remote, lines.last().is_some_and(|line| line.item == UNUSED_ITEM))
    }
}

#[cfg(test)]
impl Who {
    pub(super) fn is_name(&self) -> bool {
        matches!(self, Who::LastName(_))
    }
}
