//! Who calls: tokens of a service account, of the machine, or a given one. Only the scope of
//! spreadsheets is ever asked for.
//!
//! A token is fetched before a call and handed to it, so that a call itself never waits for one: what
//! fails here has surely not touched the spreadsheet.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use google_sheets4::common::GetToken;
use google_sheets4::yup_oauth2::authenticator::{
    ApplicationDefaultCredentialsTypes, Authenticator,
};
use google_sheets4::yup_oauth2::{
    ApplicationDefaultCredentialsAuthenticator, ApplicationDefaultCredentialsFlowOpts,
    CustomHyperClientBuilder, ServiceAccountAuthenticator, ServiceAccountKey,
};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::errors::{Context, Failure};
use super::settings::{Credentials, checked_url};

/// The only scope.
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/spreadsheets";
/// What connects.
pub(super) type Connector = HttpsConnector<HttpConnector>;

/// The token that calls are made with.
#[derive(Clone, Default)]
pub(super) struct Current(Arc<Mutex<Option<String>>>);

impl Current {
    fn set(&self, token: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

impl GetToken for Current {
    fn get_token<'a>(
        &'a self,
        _scopes: &'a [&str],
    ) -> std::pin::Pin<
        Box<
            dyn Future<Output = Result<Option<String>, Box<dyn std::error::Error + Send + Sync>>>
                + Send
                + 'a,
        >,
    > {
        let token = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { Ok(token) })
    }
}

/// Where tokens come from.
enum Source {
    Given(String),
    Google(Authenticator<Connector>),
}

/// Tokens for calls.
pub(super) struct Auth {
    source: Source,
    current: Current,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

impl Auth {
    /// Reads the credentials; asks nobody for a token yet. Tells the account's address, if the
    /// credentials have it.
    pub(super) async fn new(
        credentials: &Credentials,
        connector: Connector,
    ) -> Result<(Self, Option<String>), Failure> {
        let (source, account) = match credentials {
            Credentials::Token(token) => (Source::Given(token.clone()), None),
            Credentials::KeyFile(path) => of_key(read_key_file(path)?, connector).await?,
            Credentials::KeyJson(json) => {
                of_key(parse_key(json, "the service account's key")?, connector).await?
            }
            Credentials::Default { metadata_url } => {
                match std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS") {
                    Some(path) => of_key(read_key_file(Path::new(&path))?, connector).await?,
                    None => (of_machine(metadata_url.clone(), connector).await?, None),
                }
            }
        };
        Ok((Self { source, current: Current::default() }, account))
    }

    /// The token for calls, which [`Auth::refresh`] sets.
    pub(super) fn current(&self) -> Current {
        self.current.clone()
    }

    /// Sees that there is a token that is not about to expire; with `force` a new one, since the last
    /// one was refused.
    pub(super) async fn refresh(&self, force: bool, context: &Context) -> Result<(), Failure> {
        let token = match &self.source {
            Source::Given(token) => Some(token.clone()),
            Source::Google(source) => {
                let token = match force {
                    true => source.force_refreshed_token(&[SCOPE]).await,
                    false => source.token(&[SCOPE]).await,
                };
                let token = token.map_err(|error| context.no_token(&error))?;
                token.token().map(str::to_owned)
            }
        };
        self.current.set(token);
        Ok(())
    }
}

fn read_key_file(path: &Path) -> Result<ServiceAccountKey, Failure> {
    let shown = path.display().to_string();
    let json = std::fs::read_to_string(path).map_err(|error| {
        Failure::no(format!("the service account's key {shown} can't be read: {error}"))
    })?;
    parse_key(&json, &format!("the service account's key {shown}"))
}

/// Errors of the JSON are not told in its own words: they may have pieces of the key in them.
fn parse_key(json: &str, name: &str) -> Result<ServiceAccountKey, Failure> {
    let refused = |why: &str| {
        Failure::no(format!(
            "{name} {why}: use the JSON key of a service account, as the Google Cloud console makes it"
        ))
    };
    let value: serde_json::Value = serde_json::from_str(json).map_err(|_| refused("is no JSON"))?;
    match value["type"].as_str() {
        Some("service_account") | None => {}
        Some(_) => return Err(refused("is of another kind of credentials")),
    }
    let key: ServiceAccountKey =
        serde_json::from_value(value).map_err(|_| refused("lacks something"))?;
    checked_url(&key.token_uri).map_err(|_| refused("has an unsafe token_uri"))?;
    Ok(key)
}

fn client(connector: Connector) -> CustomHyperClientBuilder<Connector> {
    let mut builder = Client::builder(TokioExecutor::new());
    CustomHyperClientBuilder::from(builder.pool_max_idle_per_host(0).build::<_, String>(connector))
}

async fn of_key(
    key: ServiceAccountKey,
    connector: Connector,
) -> Result<(Source, Option<String>), Failure> {
    let account = key.client_email.clone();
    let built = ServiceAccountAuthenticator::with_client(key, client(connector)).build().await;
    let source = built.map_err(|_| {
        Failure::no(format!("the private key of {account} can't be used: make a new key for it"))
    })?;
    Ok((Source::Google(source), Some(account)))
}

async fn of_machine(metadata_url: Option<String>, connector: Connector) -> Result<Source, Failure> {
    let options = ApplicationDefaultCredentialsFlowOpts { metadata_url };
    let types =
        ApplicationDefaultCredentialsAuthenticator::with_client(options, client(connector)).await;
    let built = match types {
        ApplicationDefaultCredentialsTypes::InstanceMetadata(builder) => builder.build().await,
        // Only with GOOGLE_APPLICATION_CREDENTIALS, which is not set.
        ApplicationDefaultCredentialsTypes::ServiceAccount(builder) => builder.build().await,
    };
    built.map(Source::Google).map_err(|error| {
        Failure::no(format!("Application Default Credentials can't be used: {error}"))
    })
}
