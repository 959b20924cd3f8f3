//! Credentials: service accounts, the tokens that they get, and what a token opens.
//!
//! The token endpoint takes the JWT bearer grant (RFC 7523) as Google documents it for service accounts:
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

/// The key of every emulated service account. It stands in a public repository: it protects nothing, and
/// nothing but this emulator must ever trust it.
const THROW_AWAY_KEY: &str = include_str!("throw-away-key.pem");

/// The project of all accounts, by its id and its number.
pub(crate) const PROJECT: (&str, u64) = ("emulated-project", 100_000_000_001);

/// The id of the key, as it stands in key files and in the head of a JWT.
const KEY_ID: &str = "0000000000000000000000000000000000000001";

/// The endpoint that Google's own libraries name as the audience, wherever they send the grant.
const GOOGLE_AUDIENCE: &str = "https://oauth2.googleapis.com/token";

/// The start of every scope of Google's.
const SCOPE: &str = "https://www.googleapis.com/auth/";

/// The most live tokens; the oldest goes when there are more.
const TOKENS_KEPT: usize = 10_000;

/// A refusal of the token endpoint: `error` and `error_description`.
pub(crate) type Refusal = (&'static str, String);

/// A token that was given out.
#[derive(Clone, Debug)]
struct Token {
    account: String,
    scopes: Vec<String>,
    expires: Duration,
}

/// All accounts and tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Accounts by e-mail address; false for one that was deleted.
    accounts: BTreeMap<String, bool>,
    given: BTreeMap<String, Token>,
    count: u64,
    /// How long a token lasts.
    pub(crate) lifetime: Duration,
    /// What the metadata server's account may ask for; an empty list is everything.
    pub(crate) machine_scopes: Vec<String>,
}

/// The address of an account; they are numbered from one.
pub(crate) fn account(number: usize) -> String {
    format!("robot-{number}@{}.iam.gserviceaccount.com", PROJECT.0)
}

/// The key file of an account, for an emulator at this address (with a `/` at its end).
pub(crate) fn key_file(number: usize, base: &str) -> Value {
    json!({
        "type": "service_account",
        "project_id": PROJECT.0,
        "private_key_id": KEY_ID,
        "private_key": pem(),
        "client_email": account(number),
        "client_id": format!("1000000000000000{number:05}"),
        "auth_uri": format!("{base}o/oauth2/auth"),
        "token_uri": format!("{base}token"),
        "auth_provider_x509_cert_url": format!("{base}oauth2/v1/certs"),
        "universe_domain": "googleapis.com",
    })
}

impl Tokens {
    /// With so many accounts.
    pub(crate) fn new(accounts: usize, lifetime: Duration) -> Self {
        Self {
            accounts: (1..=accounts).map(|number| (account(number), true)).collect(),
            given: BTreeMap::new(),
            count: 0,
            lifetime,
            machine_scopes: Vec::new(),
        }
    }

    /// Answers the JWT bearer grant; the form is that of the request's body.
    ///
    /// # Errors
    /// A refusal as Google words it.
    pub(crate) fn grant(
        &mut self,
        form: &[(String, String)],
        own: &str,
        (now, wall): (Duration, u64),
    ) -> Result<Value, Refusal> {
        let field = |name: &str| form.iter().find(|(own, _)| own == name).map(|(_, v)| v.as_str());
        match field("grant_type") {
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {}
            other => {
                let text = format!("Invalid grant_type: {}", other.unwrap_or_default());
                return Err(("unsupported_grant_type", text));
            }
        }
        let claims = claims(field("assertion").unwrap_or_default())?;
        let account = claims["iss"].as_str().unwrap_or_default();
        if self.accounts.get(account) != Some(&true) {
            return Err(("invalid_grant", "Invalid grant: account not found".to_owned()));
        }
        let audience = claims["aud"].as_str().unwrap_or_default();
        if ![own, GOOGLE_AUDIENCE, "https://accounts.google.com/o/oauth2/token"].contains(&audience)
        {
            return Err(("invalid_grant", "Invalid JWT: Failed audience check.".to_owned()));
        }
        let (issued, expires) = (claims["iat"].as_u64(), claims["exp"].as_u64());
        let reasonable = match (issued, expires) {
            (Some(issued), Some(expires)) => {
                issued <= wall + 300 && expires > wall && expires <= issued + 3600
            }
            _ => false,
        };
        if !reasonable {
            let text = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
                        timeframe. Check your iat and exp values in the JWT claim.";
            return Err(("invalid_grant", text.to_owned()));
        }
        let scopes: Vec<String> = claims["scope"]
            .as_str()
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        if scopes.is_empty() || !scopes.iter().all(|scope| scope.starts_with(SCOPE)) {
            let text = "Invalid OAuth scope or ID token audience provided.";
            return Err(("invalid_scope", text.to_owned()));
        }
        let account = account.to_owned();
        Ok(self.give(&account, scopes, now))
    }

    /// A token of the machine's own account, as the metadata server gives it.
    pub(crate) fn machine(&mut self, scopes: Option<&str>, now: Duration) -> Value {
        let wanted = scopes.unwrap_or_default().split([',', ' ']).filter(|scope| !scope.is_empty());
        let allowed = |scope: &&str| {
            self.machine_scopes.is_empty() || self.machine_scopes.iter().any(|own| own == scope)
        };
        let mut granted: Vec<String> = wanted.filter(allowed).map(str::to_owned).collect();
        if granted.is_empty() && scopes.is_none() {
            granted = self.machine_scopes.clone();
            if granted.is_empty() {
                granted.push(format!("{SCOPE}cloud-platform"));
            }
        }
        self.give(&account(1), granted, now)
    }

    fn give(&mut self, account: &str, scopes: Vec<String>, now: Duration) -> Value {
        self.count += 1;
        let name = format!("ya29.emulated-{:08}", self.count);
        let token = Token { account: account.to_owned(), scopes, expires: now + self.lifetime };
        self.given.insert(name.clone(), token);
        if self.given.len() > TOKENS_KEPT {
            self.given.pop_first();
        }
        let seconds = self.lifetime.as_secs();
        json!({"access_token": name, "expires_in": seconds, "token_type": "Bearer"})
    }

    /// Whose token it is and what it is for; none if it is unknown, expired or revoked.
    pub(crate) fn holder(&self, token: &str, now: Duration) -> Option<(String, Vec<String>)> {
        let token = self.given.get(token).filter(|token| token.expires > now)?;
        (self.accounts.get(&token.account) == Some(&true))
            .then(|| (token.account.clone(), token.scopes.clone()))
    }

    /// Takes back every token that was given out so far.
    pub(crate) fn revoke(&mut self) {
        self.given.clear();
    }

    /// Deletes an account, or makes it again: its key gets no token any more.
    pub(crate) fn set_account(&mut self, email: &str, alive: bool) {
        self.accounts.insert(email.to_owned(), alive);
    }
}

/// The claims of a JWT whose head and signature are right.
fn claims(assertion: &str) -> Result<Value, Refusal> {
    let bad = |text: &str| ("invalid_grant", text.to_owned());
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok();
    let json = |part: &str| serde_json::from_slice::<Value>(&decode(part)?).ok();
    let parts: Vec<&str> = assertion.split('.').collect();
    let [head, body, signature] = parts[..] else {
        return Err(bad("Bad Request: the assertion is no JWT."));
    };
    let (Some(header), Some(claims)) = (json(head), json(body)) else {
        return Err(bad("Bad Request: the assertion is no JWT."));
    };
    let signed = &assertion[..head.len() + 1 + body.len()];
    let right = header["alg"] == "RS256"
        && decode(signature).is_some_and(|signature| verified(signed.as_bytes(), &signature));
    if right { Ok(claims) } else { Err(bad("Invalid JWT Signature.")) }
}

fn verified(message: &[u8], signature: &[u8]) -> bool {
    let Some(pair) = key_pair() else { return false };
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key());
    key.verify(message, signature).is_ok()
}

/// The key without what is said about it.
fn pem() -> &'static str {
    THROW_AWAY_KEY.find("-----BEGIN").map_or("", |at| &THROW_AWAY_KEY[at..])
}

/// The throw-away key, ready to sign and to verify.
pub(crate) fn key_pair() -> Option<RsaKeyPair> {
    let lines = pem().lines().filter(|line| !line.starts_with('-'));
    let der = STANDARD.decode(lines.collect::<String>()).ok()?;
    RsaKeyPair::from_pkcs8(&der).ok()
}

/// Scopes that open a method; one of them is enough.
pub(crate) fn scopes(write: bool) -> Vec<&'static str> {
    let mut scopes = vec![
        "https://www.googleapis.com/auth/drive",
        "https://www.googleapis.com/auth/spreadsheets",
    ];
    if !write {
        scopes.push("https://www.googleapis.com/auth/drive.readonly");
        scopes.push("https://www.googleapis.com/auth/spreadsheets.readonly");
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::RSA_PKCS1_SHA256;

    const OWN: &str = "http://127.0.0.1:1/token";

    fn assertion(change: &Value) -> String {
        let mut claims = json!({
            "iss": account(1), "aud": OWN, "iat": 1000, "exp": 4600,
            "scope": "https://www.googleapis.com/auth/spreadsheets",
        });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed =
            format!("{}.{}", encode(&json!({"alg": "RS256", "typ": "JWT"})), encode(&claims));
        let pair = key_pair().unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn ask(tokens: &mut Tokens, assertion: String, wall: u64) -> Result<Value, Refusal> {
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned();
        let form = [("grant_type".to_owned(), grant), ("assertion".to_owned(), assertion)];
        tokens.grant(&form, OWN, (Duration::ZERO, wall))
    }

    #[test]
    fn a_signed_grant_gets_a_token_that_expires_and_can_be_revoked() {
        let mut tokens = Tokens::new(1, Duration::from_secs(3600));
        let token = ask(&mut tokens, assertion(&json!({})), 1010).unwrap();
        let name = token["access_token"].as_str().unwrap();
        let (holder, scopes) = tokens.holder(name, Duration::from_secs(3599)).unwrap();
        assert_eq!((holder, scopes.len()), (account(1), 1));
        assert_eq!(tokens.holder(name, Duration::from_secs(3600)), None);
        tokens.revoke();
        assert_eq!(tokens.holder(name, Duration::ZERO), None);
    }

    #[test]
    fn what_is_wrong_with_a_grant_is_told() {
        let mut tokens = Tokens::new(1, Duration::from_secs(3600));
        let mut refused =
            |change: Value, wall| ask(&mut tokens, assertion(&change), wall).unwrap_err();
        assert!(refused(json!({"iss": "x@y"}), 1010).1.contains("account not found"));
        assert!(refused(json!({"aud": "https://example.com"}), 1010).1.contains("audience"));
        assert!(refused(json!({}), 4600).1.contains("short-lived"));
        assert!(refused(json!({"exp": 9000}), 1010).1.contains("short-lived"));
        assert_eq!(refused(json!({"scope": ""}), 1010).0, "invalid_scope");
        let mut broken = assertion(&json!({}));
        broken.insert_str(broken.len() - 20, "AAAA");
        assert_eq!(ask(&mut tokens, broken, 1010).unwrap_err().1, "Invalid JWT Signature.");
        tokens.set_account(&account(1), false);
        assert!(ask(&mut tokens, assertion(&json!({})), 1010).is_err());
    }
}
