//! The request bodies of v2 as the API reference describes them. `crate::input` reads them.
#![expect(dead_code, reason = "these types exist for their schemas")]

use utoipa::ToSchema;

use super::wire::ScopeWord;
use crate::wire::{StatusWord, Timed};

/// The source of a post.
#[derive(ToSchema)]
pub(crate) struct ContentInput {
    /// Markdown, at most 1 MiB.
    #[schema(max_length = 1_048_576, example = "Words that *last*.")]
    markdown: String,
}

/// A post to be written. For `PUT` it replaces everything; a `slug` left out stays what it is.
#[derive(ToSchema)]
pub(crate) struct PostInput {
    /// Its title.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S", example = "Ink on stone")]
    title: String,
    /// Its text.
    content: ContentInput,
    /// The last part of its address; made from the title if left out.
    #[schema(min_length = 1, max_length = 100, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "ink-on-stone")]
    slug: Option<String>,
    /// Its summary; the beginning of the text if left out.
    #[schema(max_length = 1000, example = "Words that last.")]
    excerpt: Option<String>,
    /// `published` at once, or `draft` (the default).
    #[schema(value_type = Option<StatusWord>, nullable = false, example = "published")]
    status: Option<String>,
    /// Its tags by name; new ones are created.
    #[schema(nullable = false, max_items = 32, example = json!(["Writing"]))]
    tags: Option<Vec<String>>,
    /// Who wrote it, in order; you, if left out.
    #[schema(nullable = false, max_items = 16, example = json!([7]))]
    authors: Option<Vec<i64>>,
    /// Since when it is public, for posts with a past. Not in the future.
    published_at: Option<Timed>,
}

/// A merge patch of a post (RFC 7396): what is left out stays.
#[derive(ToSchema)]
pub(crate) struct PostPatchInput {
    /// A new title.
    #[schema(nullable = false, min_length = 1, max_length = 255, pattern = r"\S", example = "Ink on stone, revised")]
    title: Option<String>,
    /// A new text.
    #[schema(nullable = false)]
    content: Option<ContentInput>,
    /// A new address; the old one redirects.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 100,
        pattern = "^[a-z0-9]+(-[a-z0-9]+)*$",
        example = "ink-revised"
    )]
    slug: Option<String>,
    /// A new summary; `null` goes back to the beginning of the text.
    #[schema(max_length = 1000, example = json!(null))]
    excerpt: Option<String>,
    /// Publish or unpublish.
    #[schema(value_type = Option<StatusWord>, nullable = false, example = "published")]
    status: Option<String>,
    /// All of its tags anew; `null` for none.
    #[schema(max_items = 32, example = json!(["Writing", "Stone"]))]
    tags: Option<Vec<String>>,
    /// All of its authors anew.
    #[schema(nullable = false, min_items = 1, max_items = 16, example = json!([7]))]
    authors: Option<Vec<i64>>,
    /// Another time of publication. Not in the future.
    #[schema(nullable = false)]
    published_at: Option<Timed>,
}

/// A tag to be made.
#[derive(ToSchema)]
pub(crate) struct TagInput {
    /// Its name.
    #[schema(min_length = 1, max_length = 50, pattern = r"\S", example = "Writing")]
    name: String,
    /// The last part of its address; made from the name if left out.
    #[schema(min_length = 1, max_length = 100, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "writing")]
    slug: Option<String>,
    /// What it is about.
    #[schema(max_length = 500, example = "On putting words in order.")]
    description: Option<String>,
}

/// A merge patch of a tag.
#[derive(ToSchema)]
pub(crate) struct TagPatchInput {
    /// A new name.
    #[schema(nullable = false, min_length = 1, max_length = 50, pattern = r"\S", example = "Writing")]
    name: Option<String>,
    /// A new address.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 100,
        pattern = "^[a-z0-9]+(-[a-z0-9]+)*$",
        example = "writing"
    )]
    slug: Option<String>,
    /// A new description; `null` for none.
    #[schema(max_length = 500, example = "On putting words in order.")]
    description: Option<String>,
}

/// A merge patch of one's own account.
#[derive(ToSchema)]
pub(crate) struct AccountPatchInput {
    /// A new name.
    #[schema(nullable = false, min_length = 1, max_length = 100, pattern = r"\S", example = "Ada Lovelace")]
    display_name: Option<String>,
    /// New words about oneself; `null` for none.
    #[schema(max_length = 2000, example = "Writes about engines.")]
    bio: Option<String>,
    /// A new picture; `null` for none.
    #[schema(max_length = 2048, format = "uri", example = "https://example.org/ada.jpg")]
    avatar_url: Option<String>,
}

/// A change of one's own password.
#[derive(ToSchema)]
pub(crate) struct PasswordInput {
    /// The password until now.
    #[schema(max_length = 1024, format = Password, example = "the old phrase of four words")]
    current_password: String,
    /// The new one: at least 15 characters, and not easily guessed.
    #[schema(min_length = 15, max_length = 1024, format = Password, example = "a new phrase nobody guesses")]
    password: String,
}

/// A personal access token to be made.
#[derive(ToSchema)]
pub(crate) struct TokenInput {
    /// What it is for.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S", example = "deploy script")]
    name: String,
    /// What it may be used for.
    #[schema(min_items = 1, max_items = 5, example = json!(["read", "posts:write"]))]
    scopes: Vec<ScopeWord>,
    /// How many days it lives.
    #[schema(nullable = false, minimum = 1, maximum = 366, default = 90, example = 90)]
    expires_in_days: Option<i64>,
}

/// The first administrator.
#[derive(ToSchema)]
pub(crate) struct SetupInput {
    /// The one-time secret that the server printed at its start.
    #[schema(max_length = 1024, example = "ink_setup_…")]
    secret: String,
    /// Their handle.
    #[schema(min_length = 1, max_length = 50, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "ada")]
    handle: String,
    /// Their e-mail address.
    #[schema(max_length = 254, format = Email, example = "ada@example.org")]
    email: Option<String>,
    /// Their name; the handle if left out.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S", example = "Ada Lovelace")]
    display_name: Option<String>,
    /// Their password: at least 15 characters, and not easily guessed.
    #[schema(min_length = 15, max_length = 1024, format = Password, example = "a phrase that nobody guesses")]
    password: String,
}
