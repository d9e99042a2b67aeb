//! The consistency conditions 1 to 12 (clause 3.3.2), over everything that is there.
//!
//! Condition 11 holds as written for the loaded database; afterwards each delivery adds one, which the
//! customers' counts of deliveries say.

use super::schema::{Customer, District, History, Key, Order, OrderLine, Row, Table, Warehouse};
use super::work::Tables;
use super::{DISTRICTS, ORDERS_DELIVERED};
use crate::Result;
use crate::transactional::{End, Transactional};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is wrong, by the number of the condition; empty if nothing is.
/// `checked` is called for each district.
pub(super) fn check(
    engine: &dyn Transactional,
    warehouses: u32,
    checked: &mut dyn FnMut(),
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    engine.transact(true, &mut |txn| {
        let mut check =
            Check { tables: Tables { txn, value: Vec::new() }, paid: HashMap::new(), wrong: Vec::new() };
        check.payments(warehouses)?;
        for w in 1..=warehouses {
            check.warehouse(w, checked)?;
        }
        wrong = check.wrong;
        Ok(End::Commit)
    })?;
    Ok(wrong)
}

struct Check<'t> {
    tables: Tables<'t>,
    /// What each customer has paid, anywhere.
    paid: HashMap<(u32, u32, u32), i64>,
    wrong: Vec<String>,
}

impl Check<'_> {
    fn all<R: Row>(&mut self, table: Table, columns: &[u32]) -> Result<Vec<(Vec<u8>, R)>> {
        self.tables.rows(&Key::of(table, columns), false, usize::MAX)
    }

    fn holds(&mut self, condition: u32, of: &str, holds: bool) {
        if !holds {
            self.wrong.push(format!("condition {condition} does not hold for {of}"));
        }
    }

    fn payments(&mut self, warehouses: u32) -> Result<()> {
        for w in 1..=warehouses {
            for (_, row) in self.all::<History>(Table::History, &[w])? {
                *self.paid.entry((row.customer_w, row.customer_d, row.customer)).or_default() += row.amount;
            }
        }
        Ok(())
    }

    fn warehouse(&mut self, w: u32, checked: &mut dyn FnMut()) -> Result<()> {
        let warehouses: Vec<(_, Warehouse)> = self.all(Table::Warehouse, &[w])?;
        let districts: BTreeMap<u32, District> = numbered(self.all(Table::District, &[w])?)?;
        let history: Vec<(_, History)> = self.all(Table::History, &[w])?;
        let of = format!("warehouse {w}");
        let ytd = warehouses.first().map(|(_, row)| row.ytd);
        self.holds(1, &of, ytd == Some(districts.values().map(|row| row.ytd).sum()));
        self.holds(8, &of, ytd == Some(history.iter().map(|(_, row)| row.amount).sum()));
        for (&d, district) in &districts {
            let paid: i64 = history
                .iter()
                .filter(|(key, _)| key.starts_with(&Key::of(Table::History, &[w, d]).0))
                .map(|(_, row)| row.amount)
                .sum();
            self.holds(9, &format!("district {w}/{d}"), district.ytd == paid);
            self.district(w, d, district)?;
            checked();
        }
        self.holds(1, &of, districts.len() == DISTRICTS as usize);
        Ok(())
    }

    fn district(&mut self, w: u32, d: u32, district: &District) -> Result<()> {
        let of = format!("district {w}/{d}");
        let orders: BTreeMap<u32, Order> = numbered(self.all(Table::Order, &[w, d])?)?;
        let new: BTreeSet<u32> = numbered::<u32>(self.all(Table::NewOrder, &[w, d])?)?.into_keys().collect();
        let mut lines: BTreeMap<u32, Vec<OrderLine>> = BTreeMap::new();
        for (key, line) in self.all::<OrderLine>(Table::OrderLine, &[w, d])? {
            let order = Key::last_column(&key[..key.len() - 4])?;
            lines.entry(order).or_default().push(line);
        }
        let newest = orders.keys().next_back().copied();
        self.holds(2, &of, newest == Some(district.next_order - 1));
        self.holds(2, &of, new.last().is_none_or(|last| Some(*last) == newest));
        if let (Some(first), Some(last)) = (new.first(), new.last()) {
            self.holds(3, &of, (last - first + 1) as usize == new.len());
        }
        let counted: usize = orders.values().map(|order| order.lines as usize).sum();
        self.holds(4, &of, counted == lines.values().map(Vec::len).sum::<usize>());
        for (o, order) in &orders {
            let of = format!("order {w}/{d}/{o}");
            let own = lines.get(o).map_or(&[][..], Vec::as_slice);
            self.holds(5, &of, (order.carrier == 0) == new.contains(o));
            self.holds(6, &of, order.lines as usize == own.len());
            self.holds(7, &of, own.iter().all(|line| (line.delivered == 0) == (order.carrier == 0)));
        }
        self.customers(w, d, &orders, &lines, new.len())
    }

    fn customers(
        &mut self,
        w: u32,
        d: u32,
        orders: &BTreeMap<u32, Order>,
        lines: &BTreeMap<u32, Vec<OrderLine>>,
        new: usize,
    ) -> Result<()> {
        let mut amounts: BTreeMap<u32, i64> = BTreeMap::new();
        for (o, order) in orders {
            let delivered = lines.get(o).into_iter().flatten().filter(|line| line.delivered != 0);
            *amounts.entry(order.customer).or_default() += delivered.map(|line| line.amount).sum::<i64>();
        }
        let customers: BTreeMap<u32, Customer> = numbered(self.all(Table::Customer, &[w, d])?)?;
        for (c, customer) in &customers {
            let of = format!("customer {w}/{d}/{c}");
            let delivered = amounts.get(c).copied().unwrap_or_default();
            let paid = self.paid.get(&(w, d, *c)).copied().unwrap_or_default();
            self.holds(10, &of, customer.balance == delivered - paid);
            self.holds(12, &of, customer.balance + customer.ytd_payment == delivered);
        }
        let deliveries: u32 = customers.values().map(|customer| customer.deliveries).sum();
        let delivered = orders.len() - new;
        self.holds(11, &format!("district {w}/{d}"), delivered == (ORDERS_DELIVERED + deliveries) as usize);
        Ok(())
    }
}

/// Rows by the last column of their keys.
fn numbered<R>(rows: Vec<(Vec<u8>, R)>) -> Result<BTreeMap<u32, R>> {
    rows.into_iter().map(|(key, row)| Ok((Key::last_column(&key)?, row))).collect()
}
