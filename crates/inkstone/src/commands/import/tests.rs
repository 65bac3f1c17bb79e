//! Imports into a blog of their own.

use std::path::Path;

use inkstone_core::posts::{Located, Parts, Post, PostId, PostKey};
use inkstone_core::precondition::Precondition;
use tempfile::TempDir;

use super::*;

/// A folder of files, and a blog to import it into.
struct Place {
    root: TempDir,
    blog: Blog,
}

impl Place {
    async fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let data_dir = root.path().join("data").to_str().unwrap().to_owned();
        let common = Common { data_dir: Some(data_dir), database: None, config: None, set: Vec::new() };
        let config = configuration(&common).unwrap().config;
        let blog = Blog::open(&config, &Ambient::system()).await.unwrap();
        let place = Self { root, blog };
        std::fs::create_dir(place.folder()).unwrap();
        for (name, content) in files {
            place.write(name, content);
        }
        place
    }

    fn folder(&self) -> std::path::PathBuf {
        self.root.path().join("content")
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn arguments(&self) -> Arguments {
        let author = "Nobody Known".to_owned();
        Arguments { dir: self.folder(), dry_run: false, json: false, author, source: None }
    }

    async fn import(&self) -> Report {
        self.import_with(&self.arguments()).await
    }

    async fn import_with(&self, arguments: &Arguments) -> Report {
        import_folder(Some(&self.blog), arguments, files::find(&arguments.dir).unwrap()).await.unwrap()
    }

    async fn find(&self, slug: &str) -> Option<Post> {
        let key = PostKey::Slug(Slug::try_from(slug.to_owned()).unwrap());
        self.blog.posts.find(&self.blog.context(), &key, Parts::ALL).await.ok().map(Located::into_post)
    }

    async fn behind(&self, path: &str) -> Option<PostId> {
        self.blog.posts.by_old_path(&self.blog.context(), path).await.ok().map(|post| post.id)
    }
}

/// Created, updated, unchanged, deleted, skipped.
fn counts(report: &Report) -> [usize; 5] {
    [report.created, report.updated, report.unchanged, report.deleted, report.skipped.len()]
}

fn authors(post: &Post) -> Vec<&str> {
    post.authors.iter().map(|author| author.handle.as_str()).collect()
}

const ONE: &str = "+++\npath = \"2014/09/15/one\"\ntitle = \"One\"\nauthors = [\"Ada\", \"Grace\"]\naliases = [\"old/one.html\"]\n\
                   updated = 2015-01-02\n[taxonomies]\ntags = [\"b\", \"a\"]\n+++\n\nThe *first* text.\n";
const TWO: &str = "---\ntitle: Two\ndate: 2016-01-02 10:00:00 +0200\n---\nThe second text.\n";

#[tokio::test]
async fn a_post_keeps_its_past_and_its_addresses() {
    let place = Place::new(&[("one.md", ONE), ("two.md", TWO)]).await;
    let report = place.import().await;
    assert_eq!(counts(&report), [2, 0, 0, 0, 0]);
    assert_eq!((report.published, report.drafts, report.authors, report.new_authors), (2, 0, 3, 3));
    let one = place.find("one").await.unwrap();
    let day = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    assert_eq!(one.published_at, day("2014-09-15T00:00:00Z"));
    assert_eq!(Some(one.created_at), one.published_at);
    assert_eq!(Some(one.updated_at), day("2015-01-02T00:00:00Z"));
    assert_eq!(authors(&one), ["ada", "grace"]);
    assert_eq!(one.tags.iter().map(|tag| tag.slug.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(one.markdown.as_deref(), Some("The *first* text.\n"));
    assert_eq!(one.html.as_deref(), Some("<p>The <em>first</em> text.</p>\n"));
    for path in ["/2014/09/15/one/", "2014/09/15/one", "/old/one.html"] {
        assert_eq!(place.behind(path).await, Some(one.id), "{path}");
    }
    let two = place.find("two").await.unwrap();
    assert_eq!((authors(&two), place.behind("/two").await), (vec!["nobody-known"], Some(two.id)));
}

#[tokio::test]
async fn doing_it_again_changes_only_what_has_changed() {
    let place = Place::new(&[("one.md", ONE), ("two.md", TWO)]).await;
    place.import().await;
    let (one, two) = (place.find("one").await.unwrap(), place.find("two").await.unwrap());
    assert_eq!(counts(&place.import().await), [0, 0, 2, 0, 0]);
    assert_eq!(place.find("one").await, Some(one.clone()), "not even its version");

    place.write("one.md", &ONE.replace("One", "Uno").replace("old/one.html", "older/one.html"));
    place.write("three.md", "---\ndate: 2020-01-01\n---\n# Three\n");
    let report = place.import().await;
    assert_eq!((counts(&report), report.new_authors), ([1, 1, 1, 0, 0], 0));
    let uno = place.find("one").await.unwrap();
    assert_eq!((uno.id, uno.title.as_str(), uno.published_at), (one.id, "Uno", one.published_at));
    assert_eq!(place.behind("older/one.html").await, Some(one.id));
    assert_eq!(place.behind("old/one.html").await, None);
    assert_eq!(place.find("two").await, Some(two.clone()));

    // What was deleted here stays deleted, whatever becomes of the file.
    place.blog.posts.delete(&place.blog.context(), two.id, Precondition::Unconditional).await.unwrap();
    assert_eq!(counts(&place.import().await)[0], 0);
    place.write("two.md", &TWO.replace("second", "other"));
    assert_eq!(counts(&place.import().await), [0, 0, 2, 1, 0]);
    assert_eq!(place.find("two").await, None);
}

#[tokio::test]
async fn an_import_that_was_interrupted_goes_on() {
    let all: Vec<(String, String)> =
        (0..40).map(|i| (format!("{i}.md"), format!("---\ntitle: Post {i}\ndate: 2020-01-01\n---\n{i}"))).collect();
    let place = Place::new(&[]).await;
    for (name, content) in &all[..25] {
        place.write(name, content);
    }
    assert_eq!(place.import().await.created, 25);
    for (name, content) in &all {
        place.write(name, content);
    }
    assert_eq!(counts(&place.import().await), [15, 0, 25, 0, 0]);
}

#[tokio::test]
async fn broken_files_are_named_and_the_others_imported() {
    let place = Place::new(&[
        ("good.md", TWO),
        ("yaml.md", "---\ntitle: x\nbad: [1, 2\n---\n"),
        ("toml.md", "+++\ntitle = \"x\"\ntitle = \"y\"\n+++\n"),
        ("open.md", "---\ntitle: x\n"),
        ("nul.md", "a\0b"),
    ])
    .await;
    std::fs::write(place.folder().join("bytes.md"), b"\xff\xfe").unwrap();
    let report = place.import().await;
    assert_eq!(counts(&report), [1, 0, 0, 0, 5]);
    let names: Vec<&str> = report.skipped.iter().map(|skipped| skipped.file.as_str()).collect();
    assert_eq!(names, ["bytes.md", "nul.md", "open.md", "toml.md", "yaml.md"]);
    assert_eq!(report.skipped[3].line, 3);
    assert_eq!(counts(&place.import().await), [0, 0, 1, 0, 5]);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let place = Place::new(&[("one.md", ONE)]).await;
    let dry = Arguments { dry_run: true, ..place.arguments() };
    let report = place.import_with(&dry).await;
    assert_eq!((counts(&report), report.new_authors, report.dry_run), ([1, 0, 0, 0, 0], 2, true));
    assert!(place.find("one").await.is_none());
    assert_eq!(place.blog.users.count(&place.blog.context()).await.unwrap(), 0);
    place.import().await;
    place.write("two.md", TWO);
    place.write("one.md", &ONE.replace("first", "1st"));
    let report = place.import_with(&dry).await;
    assert_eq!((counts(&report), report.new_authors), ([1, 1, 0, 0, 0], 1));
    let without_a_blog = import_folder(None, &dry, files::find(&dry.dir).unwrap()).await.unwrap();
    assert_eq!(counts(&without_a_blog), [2, 0, 0, 0, 0]);
}

#[tokio::test]
async fn authors_are_found_again_by_address_and_by_handle() {
    let place = Place::new(&[
        ("a.md", "---\ndate: 2020-01-01\nauthor: {name: Ada L., email: Ada@Example.org}\n---\n"),
        ("b.md", "---\ndate: 2020-01-02\nauthor: Gräce\n---\n"),
        ("c.md", "---\ndate: 2020-01-03\nauthors: [Ada, Grace, GRACE]\n---\n"),
        ("d.md", "---\ndate: 2020-01-04\nauthor: {name: New One, email: new@example.org}\n---\n"),
    ])
    .await;
    let new = NewUser {
        handle: Handle::from_name("ada"),
        email: Some(Email::try_from("ada@example.org".to_owned()).unwrap()),
        display_name: DisplayName::try_from("Ada Lovelace".to_owned()).unwrap(),
        role: Role::Administrator,
        password_hash: None,
        created_at: Timestamp::UNIX_EPOCH,
    };
    let ada = place.blog.users.create(&place.blog.context(), new).await.unwrap();
    let report = place.import().await;
    assert_eq!((counts(&report), report.new_authors), ([4, 0, 0, 0, 0], 2));
    assert_eq!(authors(&place.find("a").await.unwrap()), ["ada"]);
    assert_eq!(authors(&place.find("b").await.unwrap()), ["grace"]);
    assert_eq!(authors(&place.find("c").await.unwrap()), ["ada", "grace"]);
    let ctx = place.blog.context();
    let key = UserKey::Email("new@example.org".to_owned());
    let made = place.blog.users.find(&ctx, &key).await.unwrap();
    assert_eq!((made.handle.as_str(), made.role), ("new-one", Role::Author));
    assert_eq!(
        place.blog.users.find(&ctx, &UserKey::Id(ada.id)).await.unwrap(),
        ada,
        "an account that is there stays as it is"
    );
}

#[tokio::test]
async fn the_same_address_goes_to_the_older_post() {
    let place = Place::new(&[
        ("roadmap@0.md", "+++\npath = \"2020/03/12/roadmap\"\ntitle = \"Later\"\n+++\n"),
        ("roadmap@1.md", "+++\npath = \"2018/03/12/roadmap\"\ntitle = \"Earlier\"\n+++\n"),
        ("undated/roadmap.md", "+++\ntitle = \"Undated\"\n+++\n"),
    ])
    .await;
    let report = place.import().await;
    assert_eq!((report.published, report.drafts), (2, 1));
    for (slug, title) in [("roadmap", "Earlier"), ("roadmap-2", "Later"), ("roadmap-3", "Undated")] {
        assert_eq!(place.find(slug).await.unwrap().title.as_str(), title);
    }
}

#[tokio::test]
async fn two_folders_do_not_overwrite_each_other() {
    let place = Place::new(&[("one.md", ONE)]).await;
    place.import().await;
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("one.md"), TWO).unwrap();
    let arguments = Arguments { dir: other.path().to_owned(), ..place.arguments() };
    assert_eq!(counts(&place.import_with(&arguments).await), [1, 0, 0, 0, 0]);
    assert_eq!(place.find("one").await.unwrap().title.as_str(), "One");
    // Unless they are said to be the same one, which has moved.
    let named = |dir: &Path| Arguments { dir: dir.to_owned(), source: Some("blog".to_owned()), ..place.arguments() };
    place.write("one.md", "---\ntitle: Named\ndate: 2020-01-01\n---\n");
    assert_eq!(counts(&place.import_with(&named(&place.folder())).await), [1, 0, 0, 0, 0]);
    assert_eq!(counts(&place.import_with(&named(other.path())).await), [0, 1, 0, 0, 0]);
}

#[tokio::test]
async fn the_rust_blog_754_in_754_out() {
    let content = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/rust-blog/content");
    assert!(content.is_dir(), "this test needs ../shared/data/rust-blog beside the project");
    let place = Place::new(&[]).await;
    let arguments = Arguments { dir: content, ..place.arguments() };
    let report = place.import_with(&arguments).await;
    assert_eq!((report.files, counts(&report)), (754, [754, 0, 0, 0, 0]));
    // Three pages about sections and one that only leads on have no date.
    assert_eq!((report.published, report.drafts), (750, 4));
    assert_eq!(report.unknown_fields["extra.team"], 444);
    assert!(report.templates.is_empty(), "{:?}", report.templates);
    let again = place.import_with(&arguments).await;
    assert_eq!((counts(&again), again.new_authors), ([0, 0, 754, 0, 0], 0));

    let ctx = place.blog.context();
    let filter = inkstone_core::posts::PostFilter::default();
    assert_eq!(place.blog.posts.count(&ctx, filter).await.unwrap(), 750);
    for path in ["/2014/09/15/Rust-1.0.html", "2014/09/15/Rust-1.0/"] {
        let post = place.blog.posts.by_old_path(&ctx, path).await.unwrap();
        assert_eq!(post.title.as_str(), "Road to Rust 1.0");
        assert_eq!(authors(&post), ["niko-matsakis"]);
    }
    let release = place.blog.posts.by_old_path(&ctx, "2015/05/15/Rust-1.0.html").await.unwrap();
    assert_eq!((release.title.as_str(), release.slug.as_str()), ("Announcing Rust 1.0", "rust-1-0-2"));
}

#[tokio::test]
async fn names_that_are_too_long_to_be_remembered_are_said_and_not_imported() {
    let place = Place::new(&[]).await;
    let folders = format!("{}/{}/", "ä".repeat(120), "b".repeat(120)).repeat(2);
    let name = |chars: usize| format!("{folders}{}.md", "c".repeat(chars - folders.chars().count() - ".md".len()));
    place.write(&name(512), "---\ntitle: Fits\n---\nText\n");
    place.write(&name(513), "---\ntitle: Too long\n---\nText\n");
    for dry_run in [true, false] {
        let report = place.import_with(&Arguments { dry_run, ..place.arguments() }).await;
        assert_eq!(counts(&report), [1, 0, 0, 0, 1]);
        assert_eq!(report.skipped[0].reason, "/import/key: At most 512 characters.");
    }
    let source = |chars: usize| Arguments { source: Some("s".repeat(chars)), ..place.arguments() };
    let longest = ImportKey::MAX_SOURCE_CHARS - "markdown:".len();
    assert_eq!(counts(&place.import_with(&source(longest)).await)[0], 1);
    let refused = import_folder(Some(&place.blog), &source(longest + 1), files::find(&place.folder()).unwrap()).await;
    assert!(refused.unwrap_err().message().is_some_and(|told| told.contains("more than 246 characters")));
}
