//! `preview`: the first rows of one table, through the same code that a sync runs.

use std::num::NonZeroUsize;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use clap::Args;
use cq_plugin::{Failure, Message, Selection, SyncRequest};
use futures::StreamExt as _;

use super::{SpecArgs, print};

/// Arguments of `preview`.
#[derive(Debug, Args)]
pub(super) struct PreviewArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// The table to print
    #[arg(long, value_name = "NAME")]
    table: String,
    /// Rows to print
    #[arg(long, default_value_t = 10, value_name = "N")]
    limit: usize,
}

/// Prints the rows; reading stops as soon as there are enough.
pub(super) async fn run(args: &PreviewArgs) -> anyhow::Result<()> {
    let engine = args.spec.session()?.engine().await?;
    let selection = Selection::new(vec![args.table.clone()], Vec::new(), true);
    let request = SyncRequest {
        selection,
        ..SyncRequest::default()
    };
    let mut messages = std::pin::pin!(engine.sync(request, NonZeroUsize::MIN));
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut left = args.limit;
    let mut failure: Option<Failure> = None;
    while left > 0 {
        match messages.next().await {
            Some(Ok(Message::Insert(insert))) => {
                let batch = insert.batch()?;
                let rows = batch.num_rows().min(left);
                left -= rows;
                batches.push(batch.slice(0, rows));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => failure = Some(error),
            None => break,
        }
    }
    if failure.is_none() || !batches.is_empty() {
        print(&format!("{}\n", pretty_format_batches(&batches)?))?;
    }
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}
