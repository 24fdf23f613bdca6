//! `hilum login`, `hilum logout`, `hilum person …`

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::browser;
use super::client::{Client, items, secret, segment};
use crate::cli::{Exit, Failure};
use crate::output::{self, Cell, Format};

/// The gate's word for: there is a passkey, so the passphrase is not enough.
const PASSKEY_REQUIRED: &str = "passkey-required";

/// What `hilum login` was told.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// Who, e.g. dana@mercy.example; the passphrase is asked for, or read from standard input. Nobody: whoever signs in on the page at
    /// the organisation's identity provider
    pub person: Option<String>,
    /// Sign in on a page of the gate instead, with a passkey; so does whoever has one and sends their passphrase
    #[arg(long)]
    pub browser: bool,
}

/// Roles as the command line writes them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleName {
    /// Registers, requests, ends
    Operator,
    /// Approves, rejects, suspends
    PrivacyOfficer,
    /// Reads everything, changes nothing
    Auditor,
}

impl RoleName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::PrivacyOfficer => "privacy-officer",
            Self::Auditor => "auditor",
        }
    }
}

/// `hilum person …`
#[derive(Debug, Subcommand)]
pub enum Person {
    /// List people and their roles
    List,
    /// Create a person; the passphrase is asked for, or read from standard input
    #[command(after_help = "Example:  hilum person create ann@mercy.example --role auditor")]
    Create {
        /// Who, written like a mail address
        id: String,
        /// For people; left out, it is the part before the `@`
        #[arg(long)]
        name: Option<String>,
        /// What they may do; may be repeated
        #[arg(long = "role", required = true)]
        roles: Vec<RoleName>,
    },
    /// Create the first people with the single-use credential of `hilum init`
    #[command(
        after_help = "Example:  hilum person first dana@mercy.example=operator omar@mercy.example=privacy-officer\n\nAsks for the credential, then for each person's passphrase; from a pipe, one per line in that order."
    )]
    First {
        /// PERSON=ROLE for each; at least an operator and a privacy-officer are needed to approve anything
        #[arg(required = true, value_name = "PERSON=ROLE")]
        people: Vec<String>,
    },
    /// Give a role
    Grant {
        /// Who
        id: String,
        /// Which
        role: RoleName,
    },
    /// Take a role away
    Revoke {
        /// Who
        id: String,
        /// Which
        role: RoleName,
    },
    /// Switch an account off
    Disable {
        /// Who
        id: String,
    },
    /// List somebody's passkeys
    Passkeys {
        /// Who
        id: String,
    },
    /// Take somebody's lost passkey away; after their last one the passphrase signs in again, until they enrol another
    PasskeyRemove {
        /// Who
        id: String,
        /// Which, from `hilum person passkeys`
        passkey: String,
    },
}

/// Signs in and keeps the session in the login file.
pub async fn login(client: &Client, login: Login) -> Result<Exit, Failure> {
    let answer = if let (Some(person), false) = (&login.person, login.browser) {
        let passphrase = secret("passphrase")?;
        let body = json!({ "person": person, "passphrase": passphrase }).to_string();
        match client.call_as(Method::POST, "/login", Some(("application/json", body)), None).await {
            // Only whoever knows the passphrase learns that there is a passkey.
            Err(failure) if failure.reason == PASSKEY_REQUIRED => browser::sign_in(client, Some(person)).await?,
            answer => answer?,
        }
    } else {
        browser::sign_in(client, login.person.as_deref()).await?
    };
    let token =
        answer.get("token").and_then(Value::as_str).ok_or_else(|| Failure::failed("the gate sent no session"))?;
    client.remember(Some(token))?;
    let person = answer.get("person").and_then(Value::as_str).or(login.person.as_deref()).unwrap_or_default();
    output::note(&format!("signed in as {person}"));
    Ok(Exit::Done)
}

/// Signs out on both sides.
pub async fn logout(client: &Client) -> Result<Exit, Failure> {
    // The session may be over already; the file is emptied either way.
    let _ = client.post("/logout", &json!({})).await;
    client.remember(None)?;
    output::note("signed out");
    Ok(Exit::Done)
}

/// Runs one verb.
pub async fn run(client: &Client, command: Person, format: Format) -> Result<Exit, Failure> {
    match command {
        Person::List => {
            let columns = [
                ("ID", Cell::At("/id")),
                ("NAME", Cell::At("/name")),
                ("ROLES", Cell::At("/roles")),
                ("SWITCHED OFF (UTC)", Cell::Time("/disabled_at")),
            ];
            output::rows(format, &columns, &items(&client.get("/people").await?));
        }
        Person::Create { id, name, roles } => {
            let passphrase = secret("passphrase")?;
            let tenant = client.tenant().await?;
            let roles: Vec<Value> = roles.iter().map(|role| grant(Some(&tenant), *role)).collect();
            output::object(format, &client.post("/people", &person(&id, name, &passphrase, roles)).await?);
        }
        Person::First { people } => {
            let people = named(&people)?;
            let credential = secret("credential")?;
            let mut bodies = Vec::new();
            for (id, role) in &people {
                let passphrase = secret(&format!("passphrase of {id}"))?;
                bodies.push(person(id, None, &passphrase, vec![grant(client.named_tenant(), *role)]));
            }
            let body = json!({ "credential": credential, "people": bodies }).to_string();
            client.call_as(Method::POST, "/init", Some(("application/json", body)), None).await?;
            let made: Vec<Value> = people.iter().map(|(id, role)| json!({ "id": id, "role": role.as_str() })).collect();
            output::rows(format, &[("ID", Cell::At("/id")), ("ROLE", Cell::At("/role"))], &made);
            output::note("the credential is used up; sign in with `hilum login PERSON`");
        }
        Person::Grant { id, role } => change(client, &id, "grant", role, format).await?,
        Person::Revoke { id, role } => change(client, &id, "revoke", role, format).await?,
        Person::Passkeys { id } => {
            let columns = [
                ("ID", Cell::At("/id")),
                ("NAME", Cell::At("/name")),
                ("ADDED (UTC)", Cell::Time("/created_at")),
                ("LAST USED (UTC)", Cell::Time("/used_at")),
            ];
            let passkeys = client.get(&format!("/people/{}/passkeys", segment(&id))).await?;
            output::rows(format, &columns, &items(&passkeys));
        }
        Person::PasskeyRemove { id, passkey } => {
            let path = format!("/people/{}/passkeys/{}/remove", segment(&id), segment(&passkey));
            output::object(format, &client.post(&path, &json!({})).await?);
        }
        Person::Disable { id } => {
            output::object(format, &client.post(&format!("/people/{}/disable", segment(&id)), &json!({})).await?);
        }
    }
    Ok(Exit::Done)
}

/// `PERSON=ROLE` each, nobody twice; read before any secret is asked for.
fn named(people: &[String]) -> Result<Vec<(&str, RoleName)>, Failure> {
    let mut out: Vec<(&str, RoleName)> = Vec::new();
    for entry in people {
        let (id, role) = entry
            .split_once('=')
            .and_then(|(id, role)| Some((id, RoleName::from_str(role, false).ok()?)))
            .ok_or_else(|| Failure::usage(format!("`{entry}`: write PERSON=operator, privacy-officer or auditor")))?;
        if out.iter().any(|(other, _)| *other == id) {
            return Err(Failure::usage(format!("`{id}` is named twice; give further roles with `hilum person grant`")));
        }
        out.push((id, role));
    }
    Ok(out)
}

fn person(id: &str, name: Option<String>, passphrase: &str, roles: Vec<Value>) -> Value {
    let name = name.unwrap_or_else(|| id.split('@').next().unwrap_or(id).to_owned());
    json!({ "id": id, "name": name, "passphrase": passphrase, "roles": roles })
}

fn grant(tenant: Option<&str>, role: RoleName) -> Value {
    json!({ "tenant": tenant, "role": role.as_str() })
}

async fn change(client: &Client, id: &str, verb: &str, role: RoleName, format: Format) -> Result<(), Failure> {
    let tenant = client.tenant().await?;
    let answer = client.post(&format!("/people/{}/{verb}", segment(id)), &grant(Some(&tenant), role)).await?;
    output::object(format, &answer);
    Ok(())
}
