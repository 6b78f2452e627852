//! A line on stderr that says how far discovery is, on a terminal only.

use std::future::Future;
use std::io::IsTerminal as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::sync::Engine;

/// Time between two updates: smooth to the eye, nothing to the machine.
const TICK: Duration = Duration::from_millis(100);

/// Runs `work` while showing the engine's counters.
pub(super) async fn shown<T>(engine: &Engine, work: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(TICK);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                let count = engine.progress();
                let [listed, known, wanted] = [&count.listed, &count.known, &count.wanted].map(|c| c.load(Ordering::Relaxed));
                bar.set_message(format!("{listed} keys listed, schemas of {known} of {wanted} objects read"));
                bar.tick();
            }
        }
    };
    bar.finish_and_clear();
    done
}
