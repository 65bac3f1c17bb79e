//! `/api/v2/me`: one's own account, sessions and tokens; and the first set-up.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use inkstone_core::access::{Caller, Credential, Scope, Scopes};
use inkstone_core::idempotency::{StoredAnswer, Written};
use inkstone_core::identity::PersonalToken;
use inkstone_core::users::User;

use super::inputs::{AccountPatchInput, PasswordInput, SetupInput, TokenInput};
use super::wire::{AccountBody, All, SessionBody, TokenBody, UserBody};
use crate::answer;
use crate::app::App;
use crate::extract::conditional::IfMatch;
use crate::extract::idempotency;
use crate::extract::path::Number;
use crate::extract::{Call, Known, ObjectReader, QueryReader};
use crate::problem::Result;
use crate::representation::{Builder, Representation};
use crate::{input, params, wire};

/// In place of a body's fingerprint where the body holds passwords: see
/// [`inkstone_core::idempotency::Idempotency::fingerprint`].
const NOTHING_OF_THE_BODY: [u8; 32] = [0; 32];

/// One's own account.
#[utoipa::path(get, path = "/api/v2/me", operation_id = "get_me", tag = "me", params(params::Fields<AccountBody>),
    responses((status = 200, description = "The account.", body = AccountBody)))]
pub(crate) async fn get_me(State(app): State<App>, Known(call): Known, mut query: QueryReader) -> Result<Response> {
    let fields = wire::fields::<AccountBody>(&mut query);
    query.finish()?;
    let user = app.users.me(&call.ctx).await?;
    answer::private(&call, account(&call, &user, fields.as_deref())?)
}

/// Changes one's own profile.
#[utoipa::path(patch, path = "/api/v2/me", operation_id = "patch_me", tag = "me",
    params(params::IfMatch),
    request_body(content = AccountPatchInput, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The account as it is now.", body = AccountBody)))]
pub(crate) async fn patch_me(
    State(app): State<App>,
    Known(call): Known,
    query: QueryReader,
    body: ObjectReader,
) -> Result<Response> {
    query.finish()?;
    let precondition = call.precondition(IfMatch::Required)?;
    let user = app.users.change_own_profile(&call.ctx, precondition, input::profile_patch(body)?).await?;
    answer::private(&call, account(&call, &user, None)?)
}

/// Changes one's own password. Every session ends.
///
/// Whoever did not get the answer signs in again, with whichever of the two passwords is right by then, and repeats the
/// request under the same key.
#[utoipa::path(post, path = "/api/v2/me/password", operation_id = "change_password", tag = "me",
    params(params::IdempotencyKey), request_body = PasswordInput,
    responses((status = 204, description = "Changed.")))]
pub(crate) async fn change_password(
    State(app): State<App>,
    Known(call): Known,
    query: QueryReader,
    body: ObjectReader,
) -> Result<Response> {
    query.finish()?;
    let (current, new) = input::password_change(body)?;
    let once = call.once(&app.edge, NOTHING_OF_THE_BODY, Arc::new(|_: &User| Ok(answer::kept_nothing())))?;
    let (client, key) = (Some(call.info.client), once.idempotency());
    match app.identity.change_password(&call.ctx, &current, &new, client, key).await? {
        Written::Done(()) => Ok(answer::nothing()),
        Written::Replayed(kept) => once.answer(Written::Replayed(kept)),
    }
}

/// One's own live sessions, newest first.
#[utoipa::path(get, path = "/api/v2/me/sessions", operation_id = "list_sessions", tag = "me", params(params::RowFields<SessionBody>),
    responses((status = 200, description = "The sessions.", body = All<SessionBody>)))]
pub(crate) async fn list_sessions(
    State(app): State<App>,
    Known(call): Known,
    mut query: QueryReader,
) -> Result<Response> {
    let fields = wire::fields::<SessionBody>(&mut query);
    query.finish()?;
    let current = match &call.ctx.caller {
        Caller::User(signed_in) => Some(signed_in.credential),
        _ => None,
    };
    let sessions = app.identity.sessions(&call.ctx).await?;
    let data = sessions.iter().map(|one| SessionBody::of(one, current == Some(Credential::Session(one.id)))).collect();
    answer::private(&call, Representation::builder(wire::to_json(&All::<SessionBody> { data }, fields.as_deref())?))
}

/// Ends one of one's own sessions.
#[utoipa::path(delete, path = "/api/v2/me/sessions/{id}", operation_id = "end_session", tag = "me",
    params(("id" = i64, Path, description = "The session's number.", minimum = 1, example = 11)),
    responses((status = 204, description = "Ended.")))]
pub(crate) async fn end_session(
    State(app): State<App>,
    Known(call): Known,
    Number(id): Number,
    query: QueryReader,
) -> Result<Response> {
    query.finish()?;
    app.identity.end_session(&call.ctx, id).await?;
    Ok(answer::nothing())
}

/// One's own personal access tokens, newest first.
#[utoipa::path(get, path = "/api/v2/me/tokens", operation_id = "list_tokens", tag = "me", params(params::RowFields<TokenBody>),
    responses((status = 200, description = "The tokens, without their secrets.", body = All<TokenBody>)))]
pub(crate) async fn list_tokens(
    State(app): State<App>,
    Known(call): Known,
    mut query: QueryReader,
) -> Result<Response> {
    let fields = wire::fields::<TokenBody>(&mut query);
    query.finish()?;
    let user = own(&call)?;
    let tokens = app.identity.personal_tokens(&call.ctx, Some(user)).await?;
    let data =
        tokens.iter().filter(|token| token.revoked_at.is_none()).map(|token| TokenBody::of(token, None)).collect();
    answer::private(&call, Representation::builder(wire::to_json(&All::<TokenBody> { data }, fields.as_deref())?))
}

/// Makes a personal access token. It is shown in this answer, and never again.
///
/// A repetition under the same key makes no other one, and gets this answer without `token`. This needs a session: a
/// personal access token makes no others.
#[utoipa::path(post, path = "/api/v2/me/tokens", operation_id = "create_token", tag = "me",
    params(params::IdempotencyKey), request_body = TokenInput,
    responses((status = 201, description = "The token.", body = TokenBody)))]
pub(crate) async fn create_token(
    State(app): State<App>,
    Known(call): Known,
    query: QueryReader,
    body: ObjectReader,
) -> Result<Response> {
    query.finish()?;
    let user = own(&call)?;
    let fingerprint = body.fingerprint();
    let (name, scopes, days) = input::personal_token(body)?;
    // What is kept for a repetition: without the secret.
    let once = call.once(&app.edge, fingerprint, Arc::new(|token: &PersonalToken| made_token(token, None)))?;
    let key = once.idempotency();
    match app.identity.create_personal_token_once(&call.ctx, user, &name, scopes, days, key).await? {
        Written::Done((token, secret)) => Ok(idempotency::respond(made_token(&token, Some(secret))?)),
        Written::Replayed(kept) => once.answer(Written::Replayed(kept)),
    }
}

fn made_token(token: &PersonalToken, secret: Option<String>) -> inkstone_core::Result<StoredAnswer> {
    let body = wire::to_json(&TokenBody::of(token, secret), None)?;
    Ok(answer::created(Representation::builder(body), "/api/v2/me/tokens"))
}

/// Ends one of one's own personal access tokens.
#[utoipa::path(delete, path = "/api/v2/me/tokens/{id}", operation_id = "revoke_token", tag = "me",
    params(("id" = i64, Path, description = "The token's number.", minimum = 1, example = 5)),
    responses((status = 204, description = "Ended.")))]
pub(crate) async fn revoke_token(
    State(app): State<App>,
    Known(call): Known,
    Number(id): Number,
    query: QueryReader,
) -> Result<Response> {
    query.finish()?;
    let user = own(&call)?;
    app.identity.revoke_personal_token(&call.ctx, Some(user), id).await?;
    Ok(answer::nothing())
}

/// Makes the first administrator, with the one-time secret that the server printed at its start.
#[utoipa::path(post, path = "/api/v2/setup", operation_id = "setup", tag = "setup",
    params(params::IdempotencyKey), request_body = SetupInput,
    responses((status = 201, description = "The account.", body = UserBody)))]
pub(crate) async fn setup(
    State(app): State<App>,
    call: Call,
    query: QueryReader,
    body: ObjectReader,
) -> Result<Response> {
    query.finish()?;
    let fingerprint = body.fingerprint();
    let (secret, first) = input::setup(body)?;
    let render = Arc::new(|user: &User| {
        let body = wire::to_json(&UserBody::of(user), None)?;
        Ok(answer::created(Representation::builder(body), &format!("/api/v2/users/{}", user.id)))
    });
    let once = call.once(&app.edge, fingerprint, render)?;
    let written = app.identity.complete_setup_once(&call.ctx, &secret, first, once.idempotency()).await?;
    once.answer(written)
}

fn own(call: &Call) -> Result<inkstone_core::users::UserId> {
    let missing = || inkstone_core::Error::refused(inkstone_core::Code::Unauthenticated, "This needs an access token.");
    Ok(call.ctx.caller.user_id().ok_or_else(missing)?)
}

fn account(call: &Call, user: &User, fields: Option<&[&str]>) -> inkstone_core::Result<Builder> {
    let scopes = match &call.ctx.caller {
        Caller::User(signed_in) => signed_in.scopes,
        _ => Scopes::default(),
    };
    let body = AccountBody {
        profile: UserBody::of(user),
        email: user.email.as_ref().map(|email| email.as_str().to_owned()),
        role: user.role.as_str(),
        scopes: scopes.iter().map(Scope::as_str).collect(),
        updated_at: wire::time(user.updated_at),
    };
    Ok(Representation::builder(wire::to_json(&body, fields)?).version(user.version).last_modified(user.updated_at))
}
