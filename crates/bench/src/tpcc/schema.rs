//! TPC-C's nine tables as keys and values, with two indexes: customers by last name, orders by customer.
//!
//! A key is a byte for its table and its columns in big-endian order, so that ranges of keys are what the
//! transactions scan. Money is in cents, rates are in ten-thousandths.

use crate::Result;
use ringfort_base::codec::{DecodeError, Reader, Write};

/// Which table a key belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    Warehouse = 1,
    District,
    Customer,
    CustomerByName,
    History,
    NewOrder,
    Order,
    OrderByCustomer,
    OrderLine,
    Item,
    Stock,
    /// How many runs there were on this database; not the specification's.
    Runs,
}

/// A key under construction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Key(pub(super) Vec<u8>);

impl Key {
    pub(super) fn of(table: Table, columns: &[u32]) -> Self {
        let mut bytes = Vec::with_capacity(1 + 4 * columns.len());
        bytes.push(table as u8);
        columns.iter().for_each(|column| bytes.extend_from_slice(&column.to_be_bytes()));
        Self(bytes)
    }

    /// A customer in the index of last names: names end with a zero, so that they sort as names do.
    pub(super) fn by_name(w: u32, d: u32, last: &str, rest: Option<(&str, u32)>) -> Self {
        let mut key = Self::of(Table::CustomerByName, &[w, d]);
        key.0.extend_from_slice(last.as_bytes());
        key.0.push(0);
        if let Some((first, c)) = rest {
            key.0.extend_from_slice(first.as_bytes());
            key.0.push(0);
            key.0.extend_from_slice(&c.to_be_bytes());
        }
        key
    }

    /// The first key behind all that begin with this one.
    pub(super) fn end(&self) -> Self {
        let mut bytes = self.0.clone();
        while bytes.pop_if(|last| *last == u8::MAX).is_some() {}
        if let Some(last) = bytes.last_mut() {
            *last += 1;
        }
        Self(bytes)
    }

    /// The last column of a key.
    pub(super) fn last_column(key: &[u8]) -> Result<u32> {
        Ok(key.last_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or("a key of TPC-C is too short")?)
    }
}

/// Columns as bytes and back.
pub(super) trait Row: Sized {
    fn write(&self, to: &mut Vec<u8>);
    fn read(from: &mut Reader<'_>) -> std::result::Result<Self, DecodeError>;

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let row = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(row)
    }
}

const TEXT_MAX: usize = 512;

impl Row for u32 {
    fn write(&self, to: &mut Vec<u8>) {
        to.put_u32(*self);
    }
    fn read(from: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        from.u32()
    }
}

impl Row for u64 {
    fn write(&self, to: &mut Vec<u8>) {
        to.put_u64(*self);
    }
    fn read(from: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        from.u64()
    }
}

impl Row for i64 {
    fn write(&self, to: &mut Vec<u8>) {
        to.put_u64(*self as u64);
    }
    fn read(from: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        Ok(from.u64()? as i64)
    }
}

impl Row for String {
    fn write(&self, to: &mut Vec<u8>) {
        to.put_bytes(self.as_bytes());
    }
    fn read(from: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        from.str(TEXT_MAX).map(str::to_owned)
    }
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub(super) struct $name { $(pub(super) $field: $type,)* }

        impl Row for $name {
            fn write(&self, to: &mut Vec<u8>) {
                $(self.$field.write(to);)*
            }
            fn read(from: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
                Ok(Self { $($field: <$type>::read(from)?,)* })
            }
        }
    )*};
}

rows! {
    Address { street_1: String, street_2: String, city: String, state: String, zip: String, }
    Warehouse { name: String, address: Address, tax: u32, ytd: i64, }
    District { name: String, address: Address, tax: u32, ytd: i64, next_order: u32, }
    Customer {
        first: String,
        middle: String,
        last: String,
        address: Address,
        phone: String,
        since: u64,
        credit: String,
        credit_limit: i64,
        discount: u32,
        balance: i64,
        ytd_payment: i64,
        payments: u32,
        deliveries: u32,
        data: String,
    }
    History { customer: u32, customer_d: u32, customer_w: u32, date: u64, amount: i64, data: String, }
    /// `carrier` and `delivered` of 0 stand for "null".
    Order { customer: u32, entered: u64, carrier: u32, lines: u32, all_local: u32, }
    OrderLine { item: u32, supply_w: u32, delivered: u64, quantity: u32, amount: i64, dist_info: String, }
    Item { image: u32, name: String, price: i64, data: String, }
    /// `dists` are the ten texts of 24 letters, one behind the other.
    Stock { quantity: u32, dists: String, ytd: u32, orders: u32, remotes: u32, data: String, }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_keys_sort() {
        let order = Order { customer: 3, entered: 9, carrier: 0, lines: 5, all_local: 1 };
        assert_eq!(Order::decode(&order.encode()).unwrap(), order);
        assert!(Order::decode(&order.encode()[1..]).is_err());
        let warehouse = Warehouse { name: "w".into(), ytd: -5, ..Warehouse::default() };
        assert_eq!(Warehouse::decode(&warehouse.encode()).unwrap(), warehouse);
        let name = |last, first, c| Key::by_name(1, 2, last, Some((first, c)));
        let (all, end) = (Key::by_name(1, 2, "BAR", None), Key::by_name(1, 2, "BAR", None).end());
        for inside in [name("BAR", "A", 1), name("BAR", "", u32::MAX)] {
            assert!(all.0 < inside.0 && inside.0 < end.0);
        }
        assert!(name("BARBAR", "A", 1).0 >= end.0 && name("BAR", "A", 2).0 < name("BAR", "B", 1).0);
        assert_eq!(Key::last_column(&name("X", "Y", 77).0).unwrap(), 77);
        assert_eq!(Key::of(Table::Item, &[u32::MAX]).end(), Key(vec![Table::Item as u8 + 1]));
    }
}
