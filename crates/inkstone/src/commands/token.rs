//! `inkstone token`: personal access tokens, by the operator at the machine.

use inkstone_core::access::{Scope, Scopes};
use inkstone_core::identity::PersonalToken;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::user::find;
use crate::cli::{Common, Token, TokenCreate};
use crate::commands::with_blog;
use crate::compose::Blog;
use crate::failure::{Failure, Result};
use crate::output;

pub(super) fn run(common: &Common, arguments: Token) -> Result<()> {
    match arguments {
        Token::Create(arguments) => create(common, arguments),
        Token::List { user, json } => list(common, user, json),
        Token::Revoke { id } => with_blog(common, async move |blog: Blog| {
            blog.identity.revoke_personal_token(&blog.context(), None, id).await?;
            output::text(&format!("Token {id} is ended."))
        }),
    }
}

fn create(common: &Common, arguments: TokenCreate) -> Result<()> {
    let TokenCreate { user, name, scopes, expires, json } = arguments;
    let scopes = parse_scopes(&scopes)?;
    let days = parse_days(&expires)?;
    with_blog(common, async move |blog: Blog| {
        let (ctx, owner) = find(&blog, &user).await?;
        let (token, secret) = blog.identity.create_personal_token(&ctx, owner.id, &name, scopes, days).await?;
        if json {
            let mut shown = to_json(&token, blog.ambient.clock.now());
            shown["token"] = Value::from(secret);
            return output::json(&shown);
        }
        output::text(&format!(
            "{secret}\n\nToken {} of {} ({}), until {:.0}. It is not shown again.",
            token.id,
            owner.handle.as_str(),
            token.scopes.to_text(),
            token.expires_at,
        ))
    })
}

fn list(common: &Common, user: Option<String>, json: bool) -> Result<()> {
    with_blog(common, async move |blog: Blog| {
        let owner = match &user {
            None => None,
            Some(user) => Some(find(&blog, user).await?.1.id),
        };
        let tokens = blog.identity.personal_tokens(&blog.context(), owner).await?;
        let now = blog.ambient.clock.now();
        if json {
            return output::json(&tokens.iter().map(|token| to_json(token, now)).collect::<Vec<_>>());
        }
        let time = |at: Option<Timestamp>| at.map(|at| format!("{at:.0}")).unwrap_or_default();
        let rows: Vec<Vec<String>> = tokens
            .iter()
            .map(|token| {
                vec![
                    token.id.to_string(),
                    token.user.to_string(),
                    token.name.clone(),
                    format!("{}…", token.hint),
                    token.scopes.to_text(),
                    status(token, now).to_owned(),
                    time(Some(token.expires_at)),
                    time(token.last_used_at),
                ]
            })
            .collect();
        output::table(&["id", "user", "name", "token", "scopes", "status", "until", "last used"], &rows)
    })
}

/// Words separated by spaces or commas.
fn parse_scopes(text: &str) -> Result<Scopes> {
    let known = || Scope::ALL.map(Scope::as_str).join(", ");
    Scopes::parse(&text.replace(',', " "))
        .map_err(|word| Failure::Usage(format!("--scopes: there is no scope {word:?}; there are {}", known())))
}

/// `90d`, or a bare number of days.
fn parse_days(text: &str) -> Result<u32> {
    let number = text.trim().strip_suffix('d').unwrap_or(text.trim());
    number.parse().map_err(|_| Failure::Usage(format!("--expires: write days such as 90d, not {text:?}")))
}

fn status(token: &PersonalToken, now: Timestamp) -> &'static str {
    if token.revoked_at.is_some() {
        "revoked"
    } else if token.expires_at <= now {
        "expired"
    } else {
        "live"
    }
}

fn to_json(token: &PersonalToken, now: Timestamp) -> Value {
    json!({
        "id": token.id,
        "user_id": token.user.0,
        "name": token.name,
        "hint": token.hint,
        "scopes": token.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        "status": status(token, now),
        "created_at": format!("{:.3}", token.created_at),
        "expires_at": format!("{:.3}", token.expires_at),
        "last_used_at": token.last_used_at.map(|at| format!("{at:.3}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_days_are_read() {
        assert_eq!(parse_scopes("read, posts:write").unwrap().to_text(), "read posts:write");
        let message = parse_scopes("read wrote").unwrap_err().message().unwrap();
        assert!(message.contains("\"wrote\"") && message.contains("posts:write"), "{message}");
        assert_eq!(parse_days("90d").unwrap(), 90);
        assert_eq!(parse_days("7").unwrap(), 7);
        assert!(parse_days("-1d").is_err() && parse_days("3 months").is_err());
    }
}
