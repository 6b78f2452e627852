//! The command line: `serve` for CloudQuery, `tables` and `preview` for people.
//!
//! Exit codes: 0 done, 1 something failed (named on stderr), 2 the command line or the spec is wrong.

mod config;
mod preview;
mod progress;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use cq_plugin::cli::{ServeArgs, env_flags};
use cq_plugin::{Failure, FailureKind, chain};

use crate::source::{S3Session, S3Source, info};
use crate::spec::{Settings, SpecError};

/// Prefix of the environment variables that stand for flags.
const ENV_PREFIX: &str = "CQ_SOURCE_S3";
const WRONG_INPUT: u8 = 2;

/// CloudQuery source plugin: the Parquet files of an S3 bucket as tables
///
/// CloudQuery starts it by itself with `registry: local` or `registry: docker`; for `registry: grpc` run `serve` yourself.
#[derive(Debug, Parser)]
#[command(name = "cq-source-s3", arg_required_else_help = false)]
struct Cli {
    #[command(subcommand)]
    command: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve the plugin over gRPC, on port 7777 unless told otherwise
    ///
    /// Each flag can also be set by an environment variable, shown with it; the flag wins.
    Serve(ServeArgs),
    /// Print the tables that the bucket holds: columns, types, objects, bytes
    Tables(tables::TablesArgs),
    /// Print the first rows of a table
    Preview(preview::PreviewArgs),
}

/// Where the spec comes from.
#[derive(Debug, Args)]
struct SpecArgs {
    /// A CloudQuery config (YAML) with the source in it, or the bare spec
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,
    /// Name of the source, if the config has more than one
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

impl SpecArgs {
    fn session(&self) -> anyhow::Result<S3Session> {
        let value = config::load(&self.spec, self.source.as_deref())?;
        let settings =
            Settings::from_value(value).with_context(|| format!("{}", self.spec.display()))?;
        Ok(S3Session::new(settings))
    }
}

/// Runs the program and returns its exit code.
pub async fn main() -> ExitCode {
    let action = match parse() {
        Ok(action) => action,
        Err(error) => {
            // Help and version go to stdout and are no failure; if nobody reads them, nothing is left to do.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { WRONG_INPUT } else { 0 });
        }
    };
    let outcome = match action {
        Action::Serve(args) => serve(&args).await,
        Action::Tables(args) => tables::run(&args).await,
        Action::Preview(args) => preview::run(&args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {}", chain(error.as_ref())));
            ExitCode::from(if is_input(&error) { WRONG_INPUT } else { 1 })
        }
    }
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    cq_plugin::log::init(args.log_level, args.log_format, "cq-source-s3-source")?;
    Ok(cq_plugin::serve(S3Source, args).await?)
}

/// The exit code when not even the threads can be started.
#[must_use]
pub fn cannot_start(error: &std::io::Error) -> ExitCode {
    complain(&format!("error: cannot start threads: {error}"));
    ExitCode::FAILURE
}

/// The command line with an environment variable for each flag of `serve`; without a subcommand, the help.
fn parse() -> Result<Action, clap::Error> {
    let info = info();
    let version = match info.revision {
        Some(revision) => format!("version {} (revision {revision})", info.version),
        None => format!("version {}", info.version),
    };
    let command = Cli::command()
        .version(version)
        .mut_subcommand("serve", |serve| env_flags(serve, ENV_PREFIX));
    let action = Cli::from_arg_matches(&command.clone().try_get_matches()?)?.command;
    match action {
        Some(action) => Ok(action),
        // No subcommand is a question for help, as it is in the Go plugin.
        None => Err(command
            .try_get_matches_from(["cq-source-s3", "--help"])
            .err()
            .unwrap_or_else(|| clap::Error::new(clap::error::ErrorKind::DisplayHelp))),
    }
}

fn is_input(error: &anyhow::Error) -> bool {
    let failed_input = error
        .downcast_ref::<Failure>()
        .is_some_and(|failure| failure.kind() == FailureKind::InvalidSpec);
    failed_input
        || error
            .chain()
            .any(|cause| cause.is::<SpecError>() || cause.is::<config::ConfigError>())
}

#[expect(
    clippy::print_stderr,
    reason = "the one place where this program speaks to people about failures"
)]
fn complain(line: &str) {
    eprintln!("{line}");
}

/// Prints to stdout; a reader that went away (`| head`) ends the printing without a complaint.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write to stdout"),
    }
}
