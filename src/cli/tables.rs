//! `tables`: what the bucket holds, as text or JSON.

use std::fmt::Write as _;

use arrow::datatypes::Field;
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use cq_plugin::Selection;
use cq_plugin::extension::Extension;
use serde_json::{Value, json};

use super::{SpecArgs, complain, print, progress};
use crate::sync::FoundTable;

/// Arguments of `tables`.
#[derive(Debug, Args)]
pub(super) struct TablesArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// How to print them
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: a list of objects
    Json,
}

/// Prints the tables; objects that cannot be read are named on stderr and make it fail.
pub(super) async fn run(args: &TablesArgs) -> anyhow::Result<()> {
    let engine = args.spec.session()?.engine().await?;
    let found = progress::shown(&engine, engine.discover(&Selection::all(), None)).await?;
    let text = match args.format {
        Format::Text => found.tables.iter().map(text).collect(),
        Format::Json => format!("{:#}\n", found.tables.iter().map(value).collect::<Value>()),
    };
    print(&text)?;
    if found.tables.is_empty() && found.failures.is_empty() {
        complain("no tables: the bucket holds no Parquet object under this prefix");
    }
    for failure in &found.failures {
        complain(&failure.line);
    }
    match found.failures.len() {
        0 => Ok(()),
        failed => anyhow::bail!("{failed} objects cannot be read"),
    }
}

fn bytes(found: &FoundTable) -> u64 {
    found.objects.iter().map(|object| object.size).sum()
}

fn text(found: &FoundTable) -> String {
    let table = &found.table;
    let mut out = format!(
        "{} ({} objects, {})\n",
        table.name,
        found.objects.len(),
        ByteSize(bytes(found)).display().iec()
    );
    let width = table
        .columns
        .iter()
        .map(|column| column.name().chars().count())
        .max()
        .unwrap_or(0);
    for column in &table.columns {
        let name = column.name();
        let nullable = if column.field.is_nullable() {
            ""
        } else {
            " not null"
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "  {name:width$}  {}{nullable}",
            type_name(&column.field)
        );
    }
    out.push('\n');
    out
}

fn value(found: &FoundTable) -> Value {
    let columns = found.table.columns.iter().map(|column| json!({"name": column.name(), "type": type_name(&column.field), "nullable": column.field.is_nullable()}));
    json!({
        "name": found.table.name,
        "objects": found.objects.len(),
        "bytes": bytes(found),
        "columns": columns.collect::<Value>(),
    })
}

fn type_name(field: &Field) -> String {
    Extension::of(field).map_or_else(
        || field.data_type().to_string(),
        |extension| extension.name().to_owned(),
    )
}
