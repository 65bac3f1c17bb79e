//! A small sample blog, so that the first look at the API shows something. Nobody can sign in as
//! its authors; filling it in again changes nothing.

mod posts;

use inkstone_core::access::Role;
use inkstone_core::posts::import::{Imported, ImportedPost};
use inkstone_core::posts::{ImportKey, Markdown, PostDraft, Status, Title};
use inkstone_core::tags::TagName;
use inkstone_core::text::Slug;
use inkstone_core::users::{DisplayName, Handle, NewUser, UserId, UserKey};
use inkstone_core::{Code, Context, Error, Fault, Result};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::compose::Blog;

/// Names the sample posts among all that are imported.
const SOURCE: &str = "demo";

/// A sample post.
struct Sample {
    slug: &'static str,
    title: &'static str,
    author: &'static str,
    tags: &'static [&'static str],
    /// How many days before the filling in it appeared; none for a draft.
    days_ago: Option<i64>,
    markdown: &'static str,
}

/// The authors: handle and name.
const AUTHORS: [(&str, &str); 3] =
    [("mira-holt", "Mira Holt"), ("jonas-weber", "Jonas Weber"), ("sana-okafor", "Sana Okafor")];

/// Fills the sample blog in.
///
/// # Errors
/// Those of the store.
pub(crate) async fn fill(blog: &Blog) -> Result<()> {
    let ctx = blog.context();
    let now = blog.ambient.clock.now();
    let mut authors = Vec::with_capacity(AUTHORS.len());
    for (handle, name) in AUTHORS {
        authors.push((handle, author(blog, &ctx, handle, name, now).await?));
    }
    let mut made = 0;
    for sample in posts::ALL {
        let post = imported(sample, &authors, now).map_err(|fault| Error::Invalid(vec![fault]))?;
        if let Imported::Created(_) = blog.posts.import(&ctx, post).await? {
            made += 1;
        }
    }
    tracing::info!(posts.made = made, posts.all = posts::ALL.len(), "the sample blog is there");
    Ok(())
}

/// The author with this handle, made without a password if there is none.
async fn author(blog: &Blog, ctx: &Context, handle: &str, name: &str, now: Timestamp) -> Result<UserId> {
    match blog.users.find(ctx, &UserKey::Handle(handle.to_owned())).await {
        Ok(user) => return Ok(user.id),
        Err(error) if error.code() == Code::NotFound => {}
        Err(error) => return Err(error),
    }
    let invalid = |fault| Error::Invalid(vec![fault]);
    let new = NewUser {
        handle: Handle::try_from(handle.to_owned()).map_err(invalid)?,
        email: None,
        display_name: DisplayName::try_from(name.to_owned()).map_err(invalid)?,
        role: Role::Author,
        password_hash: None,
        created_at: now,
    };
    Ok(blog.users.create(ctx, new).await?.id)
}

fn imported(sample: &Sample, authors: &[(&str, UserId)], now: Timestamp) -> std::result::Result<ImportedPost, Fault> {
    let Sample { slug, title, author, tags, days_ago, markdown } = *sample;
    let at = now.saturating_sub(SignedDuration::from_hours(24 * days_ago.unwrap_or(0))).unwrap_or(now);
    let draft = PostDraft {
        title: Title::try_from(title.to_owned())?,
        markdown: Markdown::try_from(markdown.trim_start().to_owned())?,
        slug: Some(Slug::try_from(slug.to_owned())?),
        excerpt: None,
        status: if days_ago.is_some() { Status::Published } else { Status::Draft },
        tags: tags.iter().map(|&tag| TagName::try_from(tag.to_owned())).collect::<Result<_, Fault>>()?,
        authors: authors.iter().filter(|(handle, _)| *handle == author).map(|(_, id)| *id).collect(),
        published_at: days_ago.map(|_| at),
    };
    // Of what is written here, not of the day: filling it in tomorrow is no change.
    let fingerprint = Sha256::digest(format!("{title}\n{author}\n{}\n{markdown}", tags.join(","))).into();
    let key = ImportKey { source: SOURCE.to_owned(), key: slug.to_owned(), fingerprint };
    Ok(ImportedPost { draft, created_at: at, updated_at: at, redirects: Vec::new(), key })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_sample_is_a_valid_post_of_a_known_author() {
        let authors: Vec<_> = AUTHORS.iter().zip(1..).map(|((handle, _), id)| (*handle, UserId(id))).collect();
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for sample in posts::ALL {
            let post = imported(sample, &authors, now).unwrap();
            assert_eq!(post.draft.authors.len(), 1, "{}", sample.slug);
            assert!(post.draft.published_at.is_none_or(|at| at <= now));
        }
        let all = || posts::ALL.iter();
        assert_eq!(all().map(|sample| sample.slug).collect::<BTreeSet<_>>().len(), posts::ALL.len());
        assert_eq!(all().map(|sample| sample.author).collect::<BTreeSet<_>>().len(), AUTHORS.len());
        let tags: BTreeSet<_> = all().flat_map(|sample| sample.tags).collect();
        assert_eq!(tags.len(), 8, "{tags:?}");
        assert_eq!(all().filter(|sample| sample.days_ago.is_none()).count(), 1, "one draft, to see what that is");
    }
}
