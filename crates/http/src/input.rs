//! From JSON bodies to what the services take. One function per kind of body; both versions
//! use the same newtypes, so a rule holds everywhere or nowhere.

use inkstone_core::access::{Scope, Scopes};
use inkstone_core::posts::{Excerpt, Markdown, PostDraft, PostPatch, Status, Title};
use inkstone_core::tags::{TagChange, TagDescription, TagDraft, TagName};
use inkstone_core::text::Slug;
use inkstone_core::users::{Bio, DisplayName, Email, ProfilePatch, UserId, WebUrl};
use inkstone_core::{Fault, FaultCode};
use inkstone_identity::FirstAdministrator;
use jiff::Timestamp;

use crate::extract::body::ObjectReader;
use crate::problem::Result;

/// The longest password that is read at all, in bytes; what is too long is not hashed.
const MAX_PASSWORD_BYTES: usize = 1024;

/// A whole post as v1 writes it.
pub(crate) fn v1_post(mut body: ObjectReader) -> Result<PostDraft> {
    let title = body.required::<Title>("title");
    let markdown = body.required::<Markdown>("content");
    let slug = body.nullable::<Slug>("slug").flatten();
    let status = body.optional::<Status>("status").unwrap_or(Status::Draft);
    let tags = body.optional::<Vec<TagName>>("tags").unwrap_or_default();
    let author = body.nullable::<UserId>("author_id").flatten();
    let published_at = body.nullable::<Timestamp>("published_at").flatten();
    body.build(|| {
        let (title, markdown) = (title?, markdown?);
        let authors = author.into_iter().collect();
        Some(PostDraft { title, markdown, slug, excerpt: None, status, tags, authors, published_at })
    })
}

/// A whole post as v2 writes it.
pub(crate) fn v2_post(mut body: ObjectReader) -> Result<PostDraft> {
    let title = body.required::<Title>("title");
    let markdown = body.required_object("content", |content| content.required::<Markdown>("markdown"));
    let slug = body.nullable::<Slug>("slug").flatten();
    let excerpt = body.nullable::<Excerpt>("excerpt").flatten();
    let status = body.optional::<Status>("status").unwrap_or(Status::Draft);
    let tags = body.optional::<Vec<TagName>>("tags").unwrap_or_default();
    let authors = body.optional::<Vec<UserId>>("authors").unwrap_or_default();
    let published_at = body.nullable::<Timestamp>("published_at").flatten();
    body.build(|| {
        let (title, markdown) = (title?, markdown?);
        Some(PostDraft { title, markdown, slug, excerpt, status, tags, authors, published_at })
    })
}

/// A merge patch of a post (RFC 7396). `null` goes back to the default where there is one.
pub(crate) fn v2_post_patch(mut body: ObjectReader) -> Result<PostPatch> {
    let title = body.optional::<Title>("title");
    let markdown = body.optional_object("content", |content| content.required::<Markdown>("markdown"));
    let slug = body.optional::<Slug>("slug");
    let excerpt = body.nullable::<Excerpt>("excerpt");
    let status = body.optional::<Status>("status");
    let tags = body.nullable::<Vec<TagName>>("tags").map(Option::unwrap_or_default);
    let authors = body.optional::<Vec<UserId>>("authors");
    let published_at = body.optional::<Timestamp>("published_at");
    body.build(|| Some(PostPatch { title, markdown, slug, excerpt, status, tags, authors, published_at }))
}

/// A tag to be made.
pub(crate) fn tag(mut body: ObjectReader) -> Result<TagDraft> {
    let name = body.required::<TagName>("name");
    let slug = body.nullable::<Slug>("slug").flatten();
    let description = body.nullable::<TagDescription>("description").flatten().unwrap_or_default();
    body.build(|| Some(TagDraft { name: name?, slug, description }))
}

/// A merge patch of a tag.
pub(crate) fn tag_patch(mut body: ObjectReader) -> Result<TagChange> {
    let name = body.optional::<TagName>("name");
    let slug = body.optional::<Slug>("slug");
    let description = body.nullable::<TagDescription>("description").map(Option::unwrap_or_default);
    body.build(|| Some(TagChange { name, slug, description }))
}

/// A merge patch of one's own profile.
pub(crate) fn profile_patch(mut body: ObjectReader) -> Result<ProfilePatch> {
    let display_name = body.optional::<DisplayName>("display_name");
    let bio = body.nullable::<Bio>("bio").map(Option::unwrap_or_default);
    let avatar_url = body.nullable::<WebUrl>("avatar_url");
    body.build(|| Some(ProfilePatch { display_name, bio, avatar_url }))
}

/// A sign-in: handle or e-mail address, password, and optionally narrower scopes.
pub(crate) struct Login {
    pub name: String,
    pub password: String,
    pub scopes: Option<Scopes>,
}

/// A sign-in.
pub(crate) fn login(mut body: ObjectReader) -> Result<Login> {
    let login = body.required::<String>("login").map(|login| (login.len() <= Email::MAX_BYTES).then_some(login));
    if login == Some(None) {
        body.fault("login", Fault::here(FaultCode::TooLong, format!("At most {} bytes.", Email::MAX_BYTES)));
    }
    let password = secret(&mut body, "password");
    let scopes = body.optional::<Vec<Scope>>("scopes").map(|scopes| scopes.into_iter().collect());
    body.build(|| Some(Login { name: login??, password: password?, scopes }))
}

/// A body with nothing but a refresh token.
pub(crate) fn refresh_token(mut body: ObjectReader) -> Result<String> {
    let token = secret(&mut body, "refresh_token");
    body.build(|| token)
}

/// A change of one's own password: the current one and the new one.
pub(crate) fn password_change(mut body: ObjectReader) -> Result<(String, String)> {
    let current = secret(&mut body, "current_password");
    let new = secret(&mut body, "password");
    body.build(|| Some((current?, new?)))
}

/// A personal access token to be made: name, scopes, days that it lives.
pub(crate) fn personal_token(mut body: ObjectReader) -> Result<(String, Scopes, u32)> {
    let name = body.required::<String>("name");
    if let Some(name) = &name
        && let Err(fault) = inkstone_core::text::check_line(name, 1, 100)
    {
        body.fault("name", fault);
    }
    let scopes = body.required::<Vec<Scope>>("scopes").map(|scopes| scopes.into_iter().collect::<Scopes>());
    if scopes == Some(Scopes::default()) {
        body.fault("scopes", Fault::here(FaultCode::TooShort, "At least one scope."));
    }
    let days = body.optional::<i64>("expires_in_days").unwrap_or(90);
    let days = u32::try_from(days).ok().filter(|days| (1..=366).contains(days));
    if days.is_none() {
        body.fault("expires_in_days", Fault::here(FaultCode::OutOfRange, "From 1 to 366."));
    }
    body.build(|| Some((name?, scopes?, days?)))
}

/// The first set-up: the one-time secret, and who they are. `identity` checks the rules.
pub(crate) fn setup(mut body: ObjectReader) -> Result<(String, FirstAdministrator)> {
    let one_time = secret(&mut body, "secret");
    let handle = body.required::<String>("handle");
    let email = body.nullable::<String>("email").flatten();
    let display_name = body.nullable::<String>("display_name").flatten();
    let password = secret(&mut body, "password");
    body.build(|| Some((one_time?, FirstAdministrator { handle: handle?, email, display_name, password: password? })))
}

/// A secret: any text within bounds. Its rules are checked by `identity`.
fn secret(body: &mut ObjectReader, name: &str) -> Option<String> {
    let text = body.required::<String>(name)?;
    if text.len() > MAX_PASSWORD_BYTES {
        body.fault(name, Fault::here(FaultCode::TooLong, format!("At most {MAX_PASSWORD_BYTES} bytes.")));
        return None;
    }
    Some(text)
}
