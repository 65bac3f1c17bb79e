//! The small typed grammar of lists: the same filters and orders in every version.

use inkstone_core::events::Entity;
use inkstone_core::posts::{Post, PostFilter, PostSort, Status};
use utoipa::IntoParams;

use crate::extract::QueryReader;
use crate::wire::{SlugText, StatusWord, Timed};

/// The most tags that a list can be narrowed by at once.
const MAX_TAGS: usize = 8;

/// What [`posts`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters for the API reference")]
pub(crate) struct PostParams {
    /// Only posts by this author.
    #[param(minimum = 1)]
    author: Option<i64>,
    /// Only posts with this tag, by slug. Repeated: with all of them.
    #[param(max_items = 8, explode)]
    tag: Option<Vec<SlugText>>,
    /// `draft` shows one's own drafts; editors see all.
    status: Option<StatusWord>,
    /// Published at or after this time.
    published_after: Option<Timed>,
    /// Published before this time.
    published_before: Option<Timed>,
    /// Only posts that say this, in any script: all of the words, in whatever order. Words in double
    /// quotes stand next to one another; `*` behind a word lets it go on. Case and accents do not count.
    #[param(min_length = 1, max_length = 200, example = "\"ink on stone\" writ*")]
    q: Option<String>,
    /// The order; `-` for the largest first.
    #[param(pattern = "^-?(published_at|created_at|updated_at|title)$", example = "-published_at")]
    sort: Option<String>,
}

/// Which posts, in which order.
#[derive(Debug, Clone)]
pub(crate) struct PostChoice {
    pub filter: PostFilter,
    pub sort: PostSort,
    pub descending: bool,
}

/// Reads `author`, `tag`, `status`, `published_after`, `published_before`, `q` and `sort`.
pub(crate) fn posts(query: &mut QueryReader) -> PostChoice {
    let status = query.word("status", &[Status::Draft.as_str(), Status::Published.as_str()]).and_then(Status::parse);
    let filter = PostFilter {
        status,
        only_by: None,
        author: query.id("author"),
        tags: query.slugs("tag", MAX_TAGS),
        published_after: query.time("published_after"),
        published_before: query.time("published_before"),
        search: query.search("q"),
    };
    let words = PostSort::ALL.map(PostSort::as_str);
    let default = if status == Some(Status::Draft) { "-updated_at" } else { "-published_at" };
    let (word, descending) = query.sort("sort", &words, default);
    let sort = PostSort::ALL.into_iter().find(|sort| sort.as_str() == word).unwrap_or(PostSort::PublishedAt);
    PostChoice { filter, sort, descending }
}

impl PostChoice {
    /// What a page of this list was made from: its rows with all that they show, and whatever
    /// decides which rows there are.
    pub(crate) fn entities(&self, posts: &[Post]) -> Vec<Entity> {
        let mut entities: Vec<Entity> = posts.iter().flat_map(of_post).collect();
        entities.sort_unstable();
        entities.dedup();
        let tagged: Vec<Entity> = posts
            .first()
            .into_iter()
            .flat_map(|post| &post.tags)
            .filter(|tag| self.filter.tags.iter().any(|slug| slug.as_str() == tag.slug))
            .map(|tag| Entity::PostsTagged(tag.id))
            .collect();
        // A post that was public before joins a list by getting the last of what it asks for, so each is named.
        entities.extend(self.filter.author.map(Entity::PostsBy));
        if !self.filter.tags.is_empty() {
            // A new or renamed tag may bring rows.
            entities.push(Entity::Tags);
        } else if self.filter.author.is_none() {
            entities.push(Entity::Posts);
        }
        // Without rows it is not known which tags they are: any change of a public post may bring the first.
        // And any change of its words may bring or take a post that somebody looks for.
        let is_searched = self.filter.search.is_some();
        if is_searched || self.sort != PostSort::PublishedAt || tagged.len() < self.filter.tags.len() {
            entities.push(Entity::PostOrder);
        }
        entities.extend(tagged);
        entities
    }
}

/// What one post was made from: itself, its authors, its tags.
pub(crate) fn of_post(post: &Post) -> Vec<Entity> {
    let mut entities = vec![Entity::Post(post.id)];
    entities.extend(post.authors.iter().map(|author| Entity::User(author.id)));
    entities.extend(post.tags.iter().map(|tag| Entity::Tag(tag.id)));
    entities
}
