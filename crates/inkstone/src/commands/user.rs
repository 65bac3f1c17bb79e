//! `inkstone user`: accounts, by the operator at the machine.

use std::io::{BufRead as _, IsTerminal as _};

use inkstone_core::access::Role;
use inkstone_core::error::Fault;
use inkstone_core::page::{MAX_LIMIT, Position};
use inkstone_core::users::{DisplayName, Email, Handle, NewUser, User as Account, UserId, UserKey};
use inkstone_core::{Context, Error};
use inkstone_identity::PasswordContext;
use serde_json::{Value, json};

use crate::cli::{Common, Json, RoleName, User, UserAdd};
use crate::commands::{with_blog, with_new_blog};
use crate::compose::Blog;
use crate::failure::{Failure, Result};
use crate::output;

/// The longest line that is read from stdin as a password, in bytes.
const MAX_PASSWORD_BYTES: u64 = 4096;

pub(super) fn run(common: &Common, arguments: User) -> Result<()> {
    match arguments {
        User::Add(arguments) => add(common, arguments),
        User::List(format) => list(common, format),
        User::SetRole { user, role } => with_blog(common, async move |blog: Blog| {
            let (ctx, account) = find(&blog, &user).await?;
            let account = blog.users.set_role(&ctx, account.id, role.into()).await?;
            output::text(&format!("{} is {} now.", account.handle.as_str(), with_article(account.role)))
        }),
        User::SetPassword { user, password_stdin } => with_blog(common, async move |blog: Blog| {
            let (ctx, account) = find(&blog, &user).await?;
            let password = read_password(password_stdin)?;
            blog.identity.set_password(&ctx, account.id, &password).await?;
            output::text(&format!("{} has a new password; all sessions are ended.", account.handle.as_str()))
        }),
        User::Disable { user } => set_disabled(common, user, true),
        User::Enable { user } => set_disabled(common, user, false),
    }
}

fn add(common: &Common, arguments: UserAdd) -> Result<()> {
    let UserAdd { handle, name, email, role, password_stdin, no_password, json } = arguments;
    // Before anybody types a password for nothing.
    let (handle, display_name, email) = parse(handle, name, email)?;
    let password = if no_password { None } else { Some(read_password(password_stdin)?) };
    with_new_blog(common, async move |blog: Blog| {
        let ctx = blog.context();
        let password_hash = match password {
            None => None,
            Some(password) => {
                let context = PasswordContext {
                    handle: handle.as_str(),
                    email: email.as_ref().map(Email::as_str),
                    display_name: display_name.as_str(),
                };
                Some(blog.identity.hash_password(&ctx, &password, context).await?)
            }
        };
        let created_at = blog.ambient.clock.now();
        let new = NewUser { handle, email, display_name, role: role.into(), password_hash, created_at };
        let account = blog.users.create(&ctx, new).await?;
        if json {
            return output::json(&to_json(&account));
        }
        let role = with_article(account.role);
        output::text(&format!("Made account {} ({}), {role}.", account.id, account.handle.as_str()))
    })
}

/// Reads all fields, and says all that is wrong with them at once.
fn parse(handle: String, name: Option<String>, email: Option<String>) -> Result<(Handle, DisplayName, Option<Email>)> {
    let at = |place: &'static str| move |fault: Fault| fault.under(place);
    let name = DisplayName::try_from(name.unwrap_or_else(|| handle.clone())).map_err(at("/name"));
    let handle = Handle::try_from(handle).map_err(at("/handle"));
    let email = email.map(Email::try_from).transpose().map_err(at("/email"));
    match (handle, name, email) {
        (Ok(handle), Ok(name), Ok(email)) => Ok((handle, name, email)),
        (handle, name, email) => {
            let faults = [handle.err(), name.err(), email.err()].into_iter().flatten().collect();
            Err(Error::Invalid(faults).into())
        }
    }
}

fn list(common: &Common, format: Json) -> Result<()> {
    let accounts = with_blog(common, async |blog: Blog| {
        let ctx = blog.context();
        let mut accounts = Vec::new();
        let mut position = Position::Start;
        loop {
            let page = blog.users.list_accounts(&ctx, position, MAX_LIMIT).await?;
            accounts.extend(page.items);
            let Some(next) = page.next else { return Ok(accounts) };
            position = Position::After(next);
        }
    })?;
    if format.json {
        return output::json(&accounts.iter().map(to_json).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = accounts
        .iter()
        .map(|account| {
            vec![
                account.id.to_string(),
                account.handle.as_str().to_owned(),
                account.display_name.as_str().to_owned(),
                account.role.as_str().to_owned(),
                if account.disabled { "disabled" } else { "active" }.to_owned(),
                account.email.as_ref().map(|email| email.as_str().to_owned()).unwrap_or_default(),
                format!("{:.0}", account.created_at),
            ]
        })
        .collect();
    output::table(&["id", "handle", "name", "role", "status", "e-mail", "since"], &rows)
}

fn set_disabled(common: &Common, user: String, disabled: bool) -> Result<()> {
    with_blog(common, async move |blog: Blog| {
        let (ctx, account) = find(&blog, &user).await?;
        let account = blog.users.set_disabled(&ctx, account.id, disabled).await?;
        let handle = account.handle.as_str();
        output::text(&if disabled {
            format!("{handle} is shut out; all sessions and tokens are ended.")
        } else {
            format!("{handle} may sign in again.")
        })
    })
}

/// The account that somebody means by a handle, an e-mail address or a number.
pub(super) async fn find(blog: &Blog, user: &str) -> Result<(Context, Account)> {
    let ctx = blog.context();
    let key = match user.parse() {
        // A handle is never only digits.
        Ok(id) => UserKey::Id(UserId(id)),
        Err(_) if user.contains('@') => UserKey::Email(user.to_lowercase()),
        Err(_) => UserKey::Handle(user.to_owned()),
    };
    match blog.users.find(&ctx, &key).await {
        Ok(account) => Ok((ctx, account)),
        Err(error) if error.code() == inkstone_core::Code::NotFound => {
            Err(Failure::with_hint(format!("there is no account {user:?}"), "`inkstone user list` shows all of them"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The first line of stdin, or what somebody types twice at the terminal. Never an argument:
/// those stand in the list of processes and in the shell's history.
fn read_password(from_stdin: bool) -> Result<String> {
    if from_stdin {
        let mut line = String::new();
        let mut limited = std::io::Read::take(std::io::stdin().lock(), MAX_PASSWORD_BYTES);
        limited.read_line(&mut line).map_err(|error| Failure::new(format!("the password cannot be read: {error}")))?;
        let password = line.trim_end_matches(['\n', '\r']);
        if password.is_empty() {
            return Err(Failure::new("there is no password on stdin"));
        }
        return Ok(password.to_owned());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::with_hint(
            "there is no terminal to ask for the password on",
            "give it on stdin with --password-stdin",
        ));
    }
    let password = rpassword::prompt_password("Password (at least 15 characters; a few words do well): ")?;
    if rpassword::prompt_password("Once more: ")? != password {
        return Err(Failure::new("the two are not the same"));
    }
    Ok(password)
}

fn with_article(role: Role) -> String {
    let name = role.as_str();
    let article = if name.starts_with(['a', 'e']) { "an" } else { "a" };
    format!("{article} {name}")
}

fn to_json(account: &Account) -> Value {
    json!({
        "id": account.id.0,
        "handle": account.handle.as_str(),
        "display_name": account.display_name.as_str(),
        "email": account.email.as_ref().map(Email::as_str),
        "role": account.role.as_str(),
        "disabled": account.disabled,
        "created_at": format!("{:.3}", account.created_at),
    })
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Reader => Self::Reader,
            RoleName::Contributor => Self::Contributor,
            RoleName::Author => Self::Author,
            RoleName::Editor => Self::Editor,
            RoleName::Administrator => Self::Administrator,
        }
    }
}
