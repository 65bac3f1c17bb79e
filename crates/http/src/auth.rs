//! Signing in and out: the same in every version, so it is written once. Answers hold tokens:
//! they are never stored, not even for a repetition, so `Idempotency-Key` is refused, except at the
//! sign-out, which does and says the same however often it comes.

use axum::extract::State;
use axum::response::Response;
use inkstone_core::access::Scope;
use inkstone_identity::TokenPair;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::extract::idempotency::refuse_key;
use crate::extract::{Call, ObjectReader, QueryReader};
use crate::problem::Result;
use crate::representation::Representation;
use crate::v2::wire::ScopeWord;
use crate::{answer, input, wire};

/// A pair of tokens (RFC 6749 §5.1).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(crate) struct TokensBody {
    /// Goes into `Authorization: Bearer …`. A JWT (RFC 9068).
    #[schema(max_length = 4096, example = "eyJ0eXAiOiJhdCtqd3Qi…")]
    access_token: String,
    /// Always `Bearer`.
    #[schema(value_type = String, pattern = "^Bearer$", example = "Bearer")]
    token_type: &'static str,
    /// Seconds that the access token lives.
    #[schema(minimum = 0, example = 900)]
    expires_in: i64,
    /// Gives the next pair, once.
    #[schema(max_length = 256, example = "ink_rt_…")]
    refresh_token: String,
    /// Seconds that the refresh token can be used.
    #[schema(minimum = 0, example = 2_592_000)]
    refresh_expires_in: i64,
    /// What the tokens may be used for.
    #[schema(value_type = Vec<ScopeWord>, max_items = 5, example = json!(["read", "posts:write"]))]
    scopes: Vec<&'static str>,
}

impl From<TokenPair> for TokensBody {
    fn from(pair: TokenPair) -> Self {
        Self {
            access_token: pair.access_token,
            token_type: "Bearer",
            expires_in: pair.expires_in_secs,
            refresh_token: pair.refresh_token,
            refresh_expires_in: pair.refresh_expires_in_secs,
            scopes: pair.scopes.iter().map(Scope::as_str).collect(),
        }
    }
}

/// A sign-in.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body for the API reference; `crate::input` reads it")]
pub(crate) struct LoginInput {
    /// Handle or e-mail address.
    #[schema(max_length = 254, example = "ada")]
    login: String,
    /// The password.
    #[schema(max_length = 1024, format = Password, example = "a phrase that nobody guesses")]
    password: String,
    /// What the tokens shall be used for; everything, if left out.
    #[schema(nullable = false, max_items = 5, example = json!(["read", "posts:write"]))]
    scopes: Option<Vec<ScopeWord>>,
}

/// A refresh token.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body for the API reference; `crate::input` reads it")]
pub(crate) struct RefreshInput {
    /// The newest refresh token of the session.
    #[schema(max_length = 1024, example = "ink_rt_…")]
    refresh_token: String,
}

async fn login(app: &App, call: &Call, query: QueryReader, body: ObjectReader) -> Result<Response> {
    refuse_key(&call.headers)?;
    query.finish()?;
    let input::Login { name, password, scopes } = input::login(body)?;
    let pair = app.identity.login(&call.ctx, &name, &password, scopes, Some(call.info.client)).await?;
    show(call, pair)
}

async fn refresh(app: &App, call: &Call, query: QueryReader, body: ObjectReader) -> Result<Response> {
    refuse_key(&call.headers)?;
    query.finish()?;
    let pair = app.identity.refresh(&call.ctx, &input::refresh_token(body)?).await?;
    show(call, pair)
}

async fn logout(app: &App, call: &Call, query: QueryReader, body: ObjectReader) -> Result<Response> {
    query.finish()?;
    app.identity.logout(&call.ctx, &input::refresh_token(body)?).await?;
    Ok(answer::signed_out())
}

fn show(call: &Call, pair: TokenPair) -> Result<Response> {
    let body = wire::to_json(&TokensBody::from(pair), None)?;
    answer::private(call, Representation::builder(body))
}

macro_rules! of_version {
    ($login:ident, $refresh:ident, $logout:ident, $base:literal) => {
        /// Signs in with a password.
        ///
        /// An `Idempotency-Key` is refused: the answer holds tokens, which are never stored.
        #[utoipa::path(post, path = concat!($base, "/login"), operation_id = "login", tag = "auth", request_body = LoginInput,
            responses((status = 200, description = "Tokens.", body = TokensBody)))]
        pub(crate) async fn $login(State(app): State<App>, call: Call, query: QueryReader, body: ObjectReader) -> Result<Response> {
            login(&app, &call, query, body).await
        }

        /// Trades a refresh token for the next pair. Using one twice ends the session.
        ///
        /// An `Idempotency-Key` is refused: the answer holds tokens, which are never stored.
        #[utoipa::path(post, path = concat!($base, "/refresh"), operation_id = "refresh", tag = "auth", request_body = RefreshInput,
            responses((status = 200, description = "The next pair.", body = TokensBody)))]
        pub(crate) async fn $refresh(State(app): State<App>, call: Call, query: QueryReader, body: ObjectReader) -> Result<Response> {
            refresh(&app, &call, query, body).await
        }

        /// Ends the session that a refresh token belongs to. Unknown tokens are fine (RFC 7009 §2.2).
        #[utoipa::path(post, path = concat!($base, "/logout"), operation_id = "logout", tag = "auth", request_body = RefreshInput,
            responses((status = 204, description = "Signed out.", headers(("Clear-Site-Data" = String, description = "Tells browsers to forget what they keep of this origin.")))))]
        pub(crate) async fn $logout(State(app): State<App>, call: Call, query: QueryReader, body: ObjectReader) -> Result<Response> {
            logout(&app, &call, query, body).await
        }
    };
}

of_version!(v1_login, v1_refresh, v1_logout, "/api/v1/auth");
of_version!(v2_login, v2_refresh, v2_logout, "/api/v2/auth");
