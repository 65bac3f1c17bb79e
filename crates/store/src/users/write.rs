//! Making and changing accounts.

use inkstone_core::access::Permit;
use inkstone_core::clock::truncate_to_micros;
use inkstone_core::events::{Entity, Event};
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::users::repository::Decide;
use inkstone_core::users::{Bio, Email, NewUser, User, UserChange, UserId, WebUrl};
use inkstone_core::{Code, Error, Fault, FaultCode, Result};
use serde_json::{Value as Json, json};

use crate::db::{Conn, Statement};
use crate::idempotency;
use crate::identity::{end_personal_tokens_of, end_sessions_of};
use crate::store::Journal;

use super::find_by_id;

const ANY_CAN_SIGN_IN: Statement = Statement {
    name: "users.any_can_sign_in",
    sql: "select u.id from users u where u.password_hash is not null and u.disabled = 0 limit 1",
};

const ID_OF_HANDLE: Statement =
    Statement { name: "users.id_of_handle", sql: "select u.id from users u where u.handle = $1" };

const ID_OF_EMAIL: Statement =
    Statement { name: "users.id_of_email", sql: "select u.id from users u where u.email_folded = $1" };

const INSERT: Statement = Statement {
    name: "users.insert",
    sql: "insert into users (handle, email, email_folded, display_name, role, is_public, password_hash, created_at, updated_at)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
          returning id",
};

const UPDATE: Statement = Statement {
    name: "users.update",
    sql: "update users
          set handle       = $2,
              email        = $3,
              email_folded = $4,
              display_name = $5,
              bio          = $6,
              avatar_url   = $7,
              role         = $8,
              disabled     = $9,
              is_public    = $10,
              version      = $11,
              updated_at   = $12
          where id = $1",
};

const SET_PASSWORD: Statement =
    Statement { name: "users.set_password", sql: "update users set password_hash = $2 where id = $1" };

pub(super) const STATEMENTS: &[&Statement] =
    &[&ANY_CAN_SIGN_IN, &ID_OF_HANDLE, &ID_OF_EMAIL, &INSERT, &UPDATE, &SET_PASSWORD];

/// Whether any account has a password and is not disabled.
pub(crate) async fn any_can_sign_in(conn: &mut Conn) -> Result<bool> {
    Ok(conn.fetch_optional::<i64>(&ANY_CAN_SIGN_IN, &[]).await?.is_some())
}

pub(super) async fn create(
    conn: &mut Conn,
    journal: Journal,
    new: Permit<NewUser>,
    first_only: bool,
    asked: Option<Idempotency<User>>,
) -> Result<Written<User>> {
    if let Some(answer) = idempotency::replay(conn, asked.as_ref(), journal.now).await? {
        return Ok(Written::Replayed(answer));
    }
    let user = insert(conn, &journal, &new, first_only).await?;
    idempotency::remember(conn, asked.as_ref(), &user, journal.now).await?;
    Ok(Written::Done(user))
}

async fn insert(conn: &mut Conn, journal: &Journal, new: &Permit<NewUser>, first_only: bool) -> Result<User> {
    let actor = new.actor();
    let new = new.change();
    if first_only && any_can_sign_in(conn).await? {
        return Err(Error::refused(Code::Conflict, "There is an account that can sign in already."));
    }
    let folded = new.email.as_ref().map(Email::folded);
    refuse_taken(conn, None, Some(new.handle.as_str()), folded.as_deref()).await?;
    let mut user = User {
        id: UserId(0),
        handle: new.handle.clone(),
        email: new.email.clone(),
        display_name: new.display_name.clone(),
        bio: Bio::default(),
        avatar_url: None,
        role: new.role,
        disabled: false,
        version: 1,
        created_at: truncate_to_micros(new.created_at),
        updated_at: truncate_to_micros(new.created_at),
    };
    let id = conn
        .insert(
            &INSERT,
            &[
                user.handle.as_str().into(),
                user.email.as_ref().map(Email::as_str).into(),
                folded.as_deref().into(),
                user.display_name.as_str().into(),
                user.role.as_str().into(),
                user.is_public().into(),
                new.password_hash.as_deref().into(),
                user.created_at.into(),
            ],
        )
        .await?;
    user.id = UserId(id);
    let subject = Entity::User(user.id);
    journal.audit(conn, actor, "user.create", subject, json!({ "role": user.role.as_str() })).await?;
    let entities = if user.is_public() { vec![subject, Entity::Users] } else { Vec::new() };
    journal.publish(conn, &[event("user.created", &user, entities)]).await?;
    Ok(user)
}

pub(super) async fn change(
    conn: &mut Conn,
    journal: Journal,
    id: UserId,
    decide: Decide,
    asked: Option<Idempotency<User>>,
) -> Result<Written<User>> {
    if let Some(answer) = idempotency::replay(conn, asked.as_ref(), journal.now).await? {
        return Ok(Written::Replayed(answer));
    }
    let user = update(conn, &journal, id, decide).await?;
    idempotency::remember(conn, asked.as_ref(), &user, journal.now).await?;
    Ok(Written::Done(user))
}

async fn update(conn: &mut Conn, journal: &Journal, id: UserId, decide: Decide) -> Result<User> {
    let Some(before) = find_by_id(conn, id).await? else { return Err(Error::not_found("user")) };
    let permit = decide(&before)?;
    let actor = permit.actor();
    let UserChange { handle, email, display_name, bio, avatar_url, role, disabled, password_hash } =
        permit.change().clone();
    let mut after = User {
        handle: handle.unwrap_or_else(|| before.handle.clone()),
        email: email.unwrap_or_else(|| before.email.clone()),
        display_name: display_name.unwrap_or_else(|| before.display_name.clone()),
        bio: bio.unwrap_or_else(|| before.bio.clone()),
        avatar_url: avatar_url.unwrap_or_else(|| before.avatar_url.clone()),
        role: role.unwrap_or(before.role),
        disabled: disabled.unwrap_or(before.disabled),
        ..before.clone()
    };
    if after == before && password_hash.is_none() {
        return Ok(before);
    }
    let folded = after.email.as_ref().map(Email::folded);
    refuse_taken(conn, Some(id), Some(after.handle.as_str()), folded.as_deref()).await?;
    let changed = changed_fields(&before, &after, password_hash.is_some());
    after.version += 1;
    after.updated_at = journal.now;
    conn.execute(
        &UPDATE,
        &[
            id.into(),
            after.handle.as_str().into(),
            after.email.as_ref().map(Email::as_str).into(),
            folded.as_deref().into(),
            after.display_name.as_str().into(),
            after.bio.as_str().into(),
            after.avatar_url.as_ref().map(WebUrl::as_str).into(),
            after.role.as_str().into(),
            after.disabled.into(),
            after.is_public().into(),
            after.version.into(),
            after.updated_at.into(),
        ],
    )
    .await?;
    if let Some(hash) = &password_hash {
        conn.execute(&SET_PASSWORD, &[id.into(), hash.into()]).await?;
    }
    let shut_out = after.disabled && !before.disabled;
    if shut_out || password_hash.is_some() {
        end_sessions_of(conn, id, journal.now).await?;
    }
    if shut_out {
        end_personal_tokens_of(conn, id, journal.now).await?;
    }
    journal.audit(conn, actor, "user.update", Entity::User(id), audited(changed, &before, &after)).await?;
    journal.publish(conn, &[event("user.updated", &after, touched(&before, &after))]).await?;
    Ok(after)
}

/// Refuses a handle or an address that somebody other than `own` has; both faults at once.
async fn refuse_taken(
    conn: &mut Conn,
    own: Option<UserId>,
    handle: Option<&str>,
    email_folded: Option<&str>,
) -> Result<()> {
    let mut faults = Vec::new();
    for (statement, value, pointer, detail) in [
        (&ID_OF_HANDLE, handle, "/handle", "This handle is taken."),
        (&ID_OF_EMAIL, email_folded, "/email", "This e-mail address belongs to another account."),
    ] {
        let Some(value) = value else { continue };
        let owner: Option<UserId> = conn.fetch_optional(statement, &[value.into()]).await?;
        if owner.is_some() && owner != own {
            faults.push(Fault::at(pointer, FaultCode::Taken, detail));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults)) }
}

/// What of the public profile changed: a reader's posts, too, show their name.
fn touched(before: &User, after: &User) -> Vec<Entity> {
    let profile = |user: &User| {
        (user.handle.clone(), user.display_name.clone(), user.bio.clone(), user.avatar_url.clone(), user.is_public())
    };
    if profile(before) == profile(after) {
        return Vec::new();
    }
    let mut entities = vec![Entity::User(after.id)];
    if before.is_public() || after.is_public() {
        entities.push(Entity::Users);
    }
    entities
}

/// The names of what changed, for the audit log, which holds no personal data.
fn changed_fields(before: &User, after: &User, password: bool) -> Vec<&'static str> {
    [
        ("handle", before.handle != after.handle),
        ("email", before.email != after.email),
        ("display_name", before.display_name != after.display_name),
        ("bio", before.bio != after.bio),
        ("avatar_url", before.avatar_url != after.avatar_url),
        ("role", before.role != after.role),
        ("disabled", before.disabled != after.disabled),
        ("password", password),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}

/// What the audit log keeps of a change: the names of what changed, and what an account may do from
/// now on and could do before. Nothing else of it: the log outlives the wish to be forgotten.
fn audited(changed: Vec<&'static str>, before: &User, after: &User) -> Json {
    let mut details = json!({ "changed": changed });
    if before.role != after.role {
        details["role"] = json!({ "from": before.role.as_str(), "to": after.role.as_str() });
    }
    if before.disabled != after.disabled {
        details["disabled"] = after.disabled.into();
    }
    details
}

fn event(kind: &'static str, user: &User, entities: Vec<Entity>) -> Event {
    let payload = json!({
        "id": user.id.0,
        "handle": user.handle.as_str(),
        "display_name": user.display_name.as_str(),
        "version": user.version,
    });
    Event { kind, subject: Entity::User(user.id), entities, payload }
}
