//! The sample bucket: three tables, nested prefixes, more than one file a table, and things that are not data.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Float64Array, TimestampMicrosecondArray};

use crate::fake_s3::FakeS3;
use crate::files::{ints, parquet, texts};

/// Microseconds since 1970 of the first order, and between two of them.
const FIRST_ORDER: i64 = 1_767_225_600_000_000;
const BETWEEN_ORDERS: i64 = 3_600_000_000;

/// Fills the bucket and returns the rows that each table then has.
pub(crate) fn fill(s3: &FakeS3) -> BTreeMap<&'static str, usize> {
    for (month, first, count) in [("01", 0, 800), ("02", 800, 700), ("03", 1500, 1)] {
        let orders = first..first + count;
        let amounts = orders
            .clone()
            .map(|id| f64::from(u8::try_from(id % 97).unwrap_or(0)) * 1.25);
        let times = orders.clone().map(|id| FIRST_ORDER + id * BETWEEN_ORDERS);
        let file = parquet(vec![
            ("id", ints(orders.clone())),
            ("customer", ints(orders.map(|id| id % 40))),
            ("amount", Arc::new(Float64Array::from_iter_values(amounts))),
            (
                "ordered_at",
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
            ),
        ]);
        s3.put(&format!("shop/orders/2026-{month}.parquet"), file);
    }
    for part in 0..4 {
        let customers = part * 10..part * 10 + 10;
        let names = texts(customers.clone().map(|id| format!("customer {id}")));
        s3.put(
            &format!("shop/crm/customers/part-{part}.parquet"),
            parquet(vec![("id", ints(customers)), ("name", names)]),
        );
    }
    s3.put(
        "countries.parquet",
        parquet(vec![
            ("code", texts(["de", "fr", "it"])),
            ("name", texts(["Germany", "France", "Italy"])),
        ]),
    );
    s3.put("shop/orders/_SUCCESS", "");
    s3.put("shop/README.txt", "not a table");
    BTreeMap::from([
        ("countries", 3),
        ("shop_crm_customers", 40),
        ("shop_orders", 1501),
    ])
}
