//! From options to an S3 client: credentials, HTTP, time limits, region. No bucket content is touched here.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_s3::config::{
    Region, SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::error::{BUCKET_REGION, Error, ErrorKind, Operation};
use super::stats::{CountSent, Counters};

/// How long a TCP and TLS handshake may take. Generous for another continent, short for an address that swallows packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a store may think before the first byte of an answer. Listing past a million deleted versions takes tens
/// of seconds. There is no limit on a whole request: that depends on the size, and stalls are caught on their own.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// How often the SDK sends one request until it has the head of an answer: 5xx, throttling, connections that fail.
/// Nothing here repeats what the SDK gave up on (see `read.rs` for bodies), so attempts do not multiply.
const REQUEST_ATTEMPTS: u32 = 5;

/// The SDK doubles this, with jitter, for each further attempt: at most 4.5 s of waiting in all.
const FIRST_BACKOFF: Duration = Duration::from_millis(300);

/// Where AWS answers for every bucket of the main partition.
const FALLBACK_REGION: &str = "us-east-1";

/// Which bucket, and how to get at it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The bucket's name, or an access point's alias or ARN.
    pub bucket: String,
    /// Left out: the bucket's own region is asked for.
    pub region: Option<String>,
    /// The URL of an S3-compatible store; left out for AWS.
    pub endpoint: Option<String>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// Send requests without a signature, for public buckets.
    pub no_sign_request: bool,
    /// Whose requests they are.
    pub credentials: Credentials,
    /// Requests in flight at once, bodies included.
    pub max_requests: NonZeroUsize,
}

/// Where credentials come from: the whole default chain of the AWS tools (environment, profiles, SSO, `credential_process`,
/// web identity, ECS, IMDS), narrowed by these.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// A profile of the shared config and credentials files.
    pub profile: Option<String>,
    /// A role to assume with what the chain found.
    pub role: Option<AssumeRole>,
}

/// A role to assume through STS.
#[derive(Clone, Debug)]
pub struct AssumeRole {
    /// The role's ARN.
    pub role_arn: String,
    /// The secret that the role's trust policy may ask for.
    pub external_id: Option<String>,
    /// The name under which the account's audit log shows the session.
    pub session_name: Option<String>,
}

/// A client, and the region it is for.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) region: String,
}

/// Makes the client. Sends at most one request to S3: when neither region nor endpoint is given, `HeadBucket` to learn the region.
pub(super) async fn connect(config: &Config, counters: &Arc<Counters>) -> Result<Connected, Error> {
    check(config).map_err(|what| {
        Error::new(
            Operation::Open,
            &config.bucket,
            ErrorKind::InvalidConfig(what),
        )
    })?;
    let sdk = with_role(load(config).await, config).await;
    let mut builder = aws_sdk_s3::config::Builder::from(&sdk)
        .retry_partition(
            // The SDK's default is a budget of retries for the whole client, which fifty readers use up in one blip.
            // Attempts and pauses of each request are bounded already.
            RetryPartition::custom("cq-source-s3")
                .token_bucket(TokenBucket::unlimited())
                .build(),
        )
        .force_path_style(config.path_style)
        // For the bodies that the SDK reads itself (listings). Ours have an earlier limit, typed, in `read.rs`.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .upload_enabled(false)
                .build(),
        )
        .interceptor(CountSent(Arc::clone(counters)));
    if config.no_sign_request {
        builder = builder.allow_no_auth();
    }
    if let Some(endpoint) = &config.endpoint {
        // Only here and not on the SDK's shared configuration: STS and SSO stay where they are.
        builder = builder.endpoint_url(endpoint);
    }
    let build = |region: &str| {
        Client::from_conf(
            builder
                .clone()
                .region(Region::new(region.to_owned()))
                .build(),
        )
    };

    let guess = sdk.region().map_or(FALLBACK_REGION, AsRef::as_ref);
    let client = build(guess);
    if config.region.is_some() || config.endpoint.is_some() {
        return Ok(Connected {
            client,
            region: guess.to_owned(),
        });
    }
    Counters::add(&counters.heads, 1);
    match region_of(&client, &config.bucket).await? {
        Some(region) if region != guess => Ok(Connected {
            client: build(&region),
            region,
        }),
        _ => Ok(Connected {
            client,
            region: guess.to_owned(),
        }),
    }
}

/// What can be seen to be wrong without asking anyone.
fn check(config: &Config) -> Result<(), &'static str> {
    if config.bucket.is_empty() || config.bucket.contains("://") {
        return Err("bucket must be the bare name, without s3://");
    }
    let Some(endpoint) = &config.endpoint else {
        return Ok(());
    };
    let host = endpoint
        .strip_prefix("https://")
        .or_else(|| endpoint.strip_prefix("http://"));
    match host {
        Some(host)
            if !host.is_empty()
                && !host.starts_with('/')
                && !host.contains(['?', '#', '@', ' ']) =>
        {
            Ok(())
        }
        // The text is not repeated: a URL may hold a password.
        _ => Err("endpoint must be a URL such as http://host:9000, without user or query"),
    }
}

/// The SDK's shared configuration.
///
/// Without any credentials the chain ends at the instance metadata service; where that address swallows packets, the SDK's
/// own limits (1 s to connect, 5 s for all credentials) bound the wait.
async fn load(config: &Config) -> SdkConfig {
    // Not the SDK's default chain of regions: that ends at the instance metadata service, seconds on a laptop, for a
    // guess that `HeadBucket` corrects anyway.
    let profile = ProfileFileRegionProvider::builder();
    let profile = match &config.credentials.profile {
        Some(name) => profile.profile_name(name),
        None => profile,
    };
    let region = match &config.region {
        Some(region) => RegionProviderChain::first_try(Region::new(region.clone())),
        None => RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(profile.build())
            .or_else(Region::from_static(FALLBACK_REGION)),
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(ANSWER_TIMEOUT)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(REQUEST_ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .region(region)
        .retry_config(retries)
        .timeout_config(timeouts);
    if let Some(profile) = &config.credentials.profile {
        loader = loader.profile_name(profile);
    }
    if config.no_sign_request {
        loader = loader.no_credentials();
    }
    loader.load().await
}

/// The one HTTP stack: hyper, rustls with ring, the system's root certificates (or `SSL_CERT_FILE`), the proxy of
/// `HTTPS_PROXY` and `NO_PROXY`.
fn http_client() -> SharedHttpClient {
    // The documented builder cannot set a proxy; this function of it is public but hidden from the documentation.
    aws_smithy_http_client::Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = aws_smithy_http_client::Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::Ring));
        connector.set_connector_settings(settings.cloned());
        connector
            .set_sleep_impl(components.and_then(aws_sdk_s3::config::RuntimeComponents::sleep_impl));
        connector.build()
    })
}

/// Puts a role on top of the chain, if one is configured; else STS is never contacted for one.
async fn with_role(sdk: SdkConfig, config: &Config) -> SdkConfig {
    let Some(role) = config
        .credentials
        .role
        .as_ref()
        .filter(|_| !config.no_sign_request)
    else {
        return sdk;
    };
    let mut provider = AssumeRoleProvider::builder(&role.role_arn).configure(&sdk);
    if let Some(id) = &role.external_id {
        provider = provider.external_id(id);
    }
    if let Some(name) = &role.session_name {
        provider = provider.session_name(name);
    }
    let provider = SharedCredentialsProvider::new(provider.build().await);
    sdk.into_builder().credentials_provider(provider).build()
}

/// The region that the store says the bucket is in. AWS says it on refusals and redirects too, so this needs no permission.
async fn region_of(client: &Client, bucket: &str) -> Result<Option<String>, Error> {
    let error = match client.head_bucket().bucket(bucket).send().await {
        Ok(answer) => return Ok(answer.bucket_region().map(str::to_owned)),
        Err(error) => error,
    };
    if let Some(region) = error
        .raw_response()
        .and_then(|raw| raw.headers().get(BUCKET_REGION))
    {
        return Ok(Some(region.to_owned()));
    }
    match Error::from_sdk(Operation::Open, bucket, error) {
        // Refused here does not mean refused to list or read: the guess stands.
        Error {
            kind: ErrorKind::Denied,
            ..
        } => Ok(None),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_be_right_are_refused() {
        let config = |bucket: &str, endpoint: Option<&str>| Config {
            bucket: bucket.into(),
            region: None,
            endpoint: endpoint.map(Into::into),
            path_style: false,
            no_sign_request: false,
            credentials: Credentials::default(),
            max_requests: NonZeroUsize::MIN,
        };
        let cases = [
            ("b", None, true),
            ("", None, false),
            ("s3://b", None, false),
            ("arn:aws:s3:eu-west-1:1:accesspoint/a", None, true),
            ("b", Some("http://127.0.0.1:9000"), true),
            ("b", Some("https://minio.internal/base"), true),
            ("b", Some("minio:9000"), false),
            ("b", Some("https://"), false),
            ("b", Some("https://user:secret@host"), false),
        ];
        for (bucket, endpoint, good) in cases {
            assert_eq!(
                check(&config(bucket, endpoint)).is_ok(),
                good,
                "{bucket} {endpoint:?}"
            );
        }
    }
}
