//! The initial population (clause 4.3.3).

use super::random::{CUSTOMERS, Constants, ITEMS, Random, last_name};
use super::schema::{
    Address, Customer, District, History, Item, Key, Order, OrderLine, Row, Stock, Table, Warehouse,
};
use super::{DISTRICTS, ORDERS_DELIVERED};
use crate::Result;
use crate::transactional::Transactional;

/// Entries are handed over in pieces of this many.
const PIECE: usize = 1000;
/// The date of everything that was there before, ms since 1970. Any but 0 does.
pub(super) const LOADED_AT: u64 = 1_000_000_000_000;

/// Collects entries and hands them over.
struct Loader<'e> {
    engine: &'e dyn Transactional,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    random: Random,
    loaded: &'e mut dyn FnMut(u64),
}

/// Loads the items, which all warehouses share.
pub(super) fn items(
    engine: &dyn Transactional,
    seed: u64,
    constants: Constants,
    loaded: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut loader = Loader::new(engine, seed, constants, loaded);
    for i in 1..=ITEMS {
        let random = &mut loader.random;
        let row = Item {
            image: random.uniform(1, 10_000),
            name: random.text(14, 24),
            price: i64::from(random.uniform(100, 10_000)),
            data: random.data(),
        };
        loader.put(&Key::of(Table::Item, &[i]), &row)?;
    }
    loader.finish()
}

/// Loads a warehouse with all that belongs to it.
pub(super) fn warehouse(
    engine: &dyn Transactional,
    w: u32,
    seed: u64,
    constants: Constants,
    loaded: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut loader = Loader::new(engine, seed.wrapping_add(u64::from(w)), constants, loaded);
    let row = Warehouse {
        name: loader.random.text(6, 10),
        address: loader.address(),
        tax: loader.random.uniform(0, 2000),
        ytd: 30_000_000,
    };
    loader.put(&Key::of(Table::Warehouse, &[w]), &row)?;
    loader.stock(w)?;
    for d in 1..=DISTRICTS {
        loader.district(w, d)?;
    }
    loader.finish()
}

impl<'e> Loader<'e> {
    fn new(
        engine: &'e dyn Transactional,
        seed: u64,
        constants: Constants,
        loaded: &'e mut dyn FnMut(u64),
    ) -> Self {
        Self { engine, entries: Vec::new(), random: Random::new(seed, constants), loaded }
    }

    fn put(&mut self, key: &Key, row: &impl Row) -> Result<()> {
        self.entries.push((key.0.clone(), row.encode()));
        if self.entries.len() == PIECE { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<()> {
        self.engine.load(&self.entries)?;
        (self.loaded)(self.entries.len() as u64);
        self.entries.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.hand_over()
    }

    fn address(&mut self) -> Address {
        let random = &mut self.random;
        Address {
            street_1: random.text(10, 20),
            street_2: random.text(10, 20),
            city: random.text(10, 20),
            state: random.text(2, 2),
            zip: random.zip(),
        }
    }

    fn stock(&mut self, w: u32) -> Result<()> {
        for i in 1..=ITEMS {
            let random = &mut self.random;
            let row = Stock {
                quantity: random.uniform(10, 100),
                dists: random.text(240, 240),
                ytd: 0,
                orders: 0,
                remotes: 0,
                data: random.data(),
            };
            self.put(&Key::of(Table::Stock, &[w, i]), &row)?;
        }
        Ok(())
    }

    fn district(&mut self, w: u32, d: u32) -> Result<()> {
        let row = District {
            name: self.random.text(6, 10),
            address: self.address(),
            tax: self.random.uniform(0, 2000),
            ytd: 3_000_000,
            next_order: CUSTOMERS + 1,
        };
        self.put(&Key::of(Table::District, &[w, d]), &row)?;
        for c in 1..=CUSTOMERS {
            self.customer(w, d, c)?;
        }
        let customers = self.random.permutation(CUSTOMERS);
        for (o, c) in (1..).zip(customers) {
            self.order(w, d, o, c)?;
        }
        Ok(())
    }

    fn customer(&mut self, w: u32, d: u32, c: u32) -> Result<()> {
        let last = if c <= 1000 { last_name(c - 1) } else { self.random.last_name() };
        let row = Customer {
            first: self.random.text(8, 16),
            middle: "OE".into(),
            last,
            address: self.address(),
            phone: self.random.digits(16),
            since: LOADED_AT,
            credit: if self.random.percent(10) { "BC" } else { "GC" }.into(),
            credit_limit: 5_000_000,
            discount: self.random.uniform(0, 5000),
            balance: -1000,
            ytd_payment: 1000,
            payments: 1,
            deliveries: 0,
            data: self.random.text(300, 500),
        };
        self.put(&Key::by_name(w, d, &row.last, Some((&row.first, c))), &c)?;
        self.put(&Key::of(Table::Customer, &[w, d, c]), &row)?;
        let history = History {
            customer: c,
            customer_d: d,
            customer_w: w,
            date: LOADED_AT,
            amount: 1000,
            data: self.random.text(12, 24),
        };
        // Runs and terminals are counted from 1 on; the load is 0.
        self.put(&Key::of(Table::History, &[w, d, 0, 0, c]), &history)
    }

    fn order(&mut self, w: u32, d: u32, o: u32, c: u32) -> Result<()> {
        let is_delivered = o <= ORDERS_DELIVERED;
        let lines = self.random.uniform(5, 15);
        let carrier = if is_delivered { self.random.uniform(1, 10) } else { 0 };
        let row = Order { customer: c, entered: LOADED_AT, carrier, lines, all_local: 1 };
        self.put(&Key::of(Table::Order, &[w, d, o]), &row)?;
        self.put(&Key::of(Table::OrderByCustomer, &[w, d, c, o]), &o)?;
        for n in 1..=lines {
            let random = &mut self.random;
            let line = OrderLine {
                item: random.uniform(1, ITEMS),
                supply_w: w,
                delivered: if is_delivered { LOADED_AT } else { 0 },
                quantity: 5,
                amount: if is_delivered { 0 } else { i64::from(random.uniform(1, 999_999)) },
                dist_info: random.text(24, 24),
            };
            self.put(&Key::of(Table::OrderLine, &[w, d, o, n]), &line)?;
        }
        if is_delivered { Ok(()) } else { self.put(&Key::of(Table::NewOrder, &[w, d, o]), &o) }
    }
}
