//! The command line of `serve`, flag for flag what the CloudQuery CLI passes when it starts a plugin, and the rule that
//! gives each flag an environment variable. Parsing only.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Command, ValueEnum};

/// Flags of `serve`. An unknown flag is an error; those without a meaning here are accepted because CLIs pass them.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ServeArgs {
    /// Where to listen: host:port, or the path of a socket with `--network unix`
    ///
    /// `localhost:7777` listens on `127.0.0.1` and `::1`. `[::]:7777` listens on every interface, IPv4 and IPv6; a
    /// container wants that. A socket path must not exist yet.
    #[arg(long, default_value = "localhost:7777", value_name = "ADDRESS")]
    pub address: String,

    /// What kind of address that is
    #[arg(long, value_enum, default_value_t, value_name = "NETWORK")]
    pub network: Network,

    /// The least important log lines to print
    ///
    /// Libraries print warnings and errors only; `RUST_LOG` refines both, as in `RUST_LOG=debug,hyper=info`.
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub log_level: LogLevel,

    /// How to print log lines: `text` for people, `json` for the CloudQuery CLI
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// OTLP/HTTP collector to send metrics to, host:port; accepted, but this version exports none
    #[arg(long, value_name = "HOST:PORT")]
    pub otel_endpoint: Option<String>,

    /// Talk to the collector without TLS
    #[arg(long)]
    pub otel_endpoint_insecure: bool,

    /// Accepted for compatibility: this plugin never reports crashes to anybody
    #[arg(long)]
    pub no_sentry: bool,

    /// Accepted for compatibility: this plugin needs no licence file
    #[arg(long, value_name = "PATH")]
    pub license: Option<PathBuf>,
}

impl Default for ServeArgs {
    fn default() -> Self {
        Self {
            address: "localhost:7777".to_owned(),
            network: Network::default(),
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
            otel_endpoint: None,
            otel_endpoint_insecure: false,
            no_sentry: false,
            license: None,
        }
    }
}

/// The kind of an address, named as Go names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Network {
    /// TCP over IPv4 and IPv6
    #[default]
    Tcp,
    /// TCP over IPv4 only
    Tcp4,
    /// TCP over IPv6 only
    Tcp6,
    /// A Unix domain socket
    Unix,
}

/// How important a log line must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogLevel {
    /// Everything
    Trace,
    /// What helps to find a mistake
    Debug,
    /// What happened
    #[default]
    Info,
    /// What somebody should look at
    Warn,
    /// What failed
    Error,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// With a time, for people
    #[default]
    Text,
    /// One flat JSON object a line
    Json,
}

/// Gives each flag of `command` (not of its subcommands) an environment variable: `--log-level` becomes
/// `<prefix>_LOG_LEVEL`. The flag wins over the variable, the variable over the default. A switch takes `true`, `false`,
/// `1`, `0`, `yes`, `no`, `on` and `off` from its variable. An empty variable counts as none.
#[must_use]
pub fn env_flags(command: Command, prefix: &str) -> Command {
    command.mut_args(|arg| {
        let Some(long) = arg.get_long() else {
            return arg;
        };
        let name = format!("{prefix}_{}", long.replace('-', "_").to_uppercase());
        // Set to nothing, as an unfilled template leaves it, is not set.
        if std::env::var_os(&name).is_some_and(|value| value.is_empty()) {
            return arg;
        }
        let arg = arg.env(name);
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            return arg.value_parser(BoolishValueParser::new());
        }
        arg
    })
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    fn parse(argv: &[&str]) -> Result<ServeArgs, clap::Error> {
        let command = ServeArgs::augment_args(Command::new("serve"));
        let matches = env_flags(command, "CQ_PLUGIN_TEST").try_get_matches_from(argv)?;
        ServeArgs::from_arg_matches(&matches)
    }

    #[test]
    fn what_the_cli_passes_to_a_local_plugin() {
        let args = parse(&[
            "serve",
            "--log-level",
            "debug",
            "--log-format",
            "json",
            "--network",
            "unix",
            "--address",
            "/tmp/cq-CVMkLhbszpwbsjoi.sock",
            "--no-sentry",
            "--license",
            "/tmp/licence",
            "--otel-endpoint",
            "localhost:4318",
            "--otel-endpoint-insecure",
        ])
        .unwrap();
        assert_eq!(
            args,
            ServeArgs {
                address: "/tmp/cq-CVMkLhbszpwbsjoi.sock".to_owned(),
                network: Network::Unix,
                log_level: LogLevel::Debug,
                log_format: LogFormat::Json,
                otel_endpoint: Some("localhost:4318".to_owned()),
                otel_endpoint_insecure: true,
                no_sentry: true,
                license: Some("/tmp/licence".into()),
            }
        );
    }

    #[test]
    fn defaults_and_mistakes() {
        assert_eq!(parse(&["serve"]).unwrap(), ServeArgs::default());
        for argv in [
            &["serve", "--nope"][..],
            &["serve", "--network", "udp"],
            &["serve", "--log-level", "INFO!"],
            &["serve", "extra"],
        ] {
            assert!(parse(argv).is_err(), "{argv:?}");
        }
    }

    /// The environment is that of the process, so the test binary runs itself again with other variables.
    #[test]
    fn the_flag_wins_over_the_variable_and_the_variable_over_the_default() {
        const CHILD: &str = "CQ_PLUGIN_TEST_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let args = parse(&["serve", "--log-level", "warn"]).unwrap();
            assert_eq!(args.log_level, LogLevel::Warn);
            assert_eq!(args.address, "[::]:1");
            assert!(args.no_sentry);
            assert!(!args.otel_endpoint_insecure);
            return;
        }
        let name = std::thread::current().name().unwrap().to_owned();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name])
            .env(CHILD, "1")
            .env("CQ_PLUGIN_TEST_LOG_LEVEL", "debug")
            .env("CQ_PLUGIN_TEST_ADDRESS", "[::]:1")
            .env("CQ_PLUGIN_TEST_NO_SENTRY", "yes")
            .env("CQ_PLUGIN_TEST_OTEL_ENDPOINT_INSECURE", "0")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }
}
