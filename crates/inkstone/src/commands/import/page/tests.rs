use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn read_as(key: &str, content: &str, jekyll: bool) -> Page {
    read(key, content.as_bytes(), jekyll, now()).unwrap()
}

fn texts(tags: &[TagName]) -> Vec<&str> {
    tags.iter().map(TagName::as_str).collect()
}

fn names(authors: &[Author]) -> Vec<&str> {
    authors.iter().map(|author| author.name.as_str()).collect()
}

fn day(text: &str) -> Timestamp {
    format!("{text}T00:00:00Z").parse().unwrap()
}

#[test]
fn a_post_of_zola() {
    let page = read_as(
        "inside/Rust-1.0@0.md",
        concat!(
            "+++\npath = \"2014/09/15/Rust-1.0\"\ntitle = \"Road to Rust 1.0\"\nauthors = [\"Niko Matsakis\"]\n",
            "description = \"On its way!\"\naliases = [\"2014/09/15/Rust-1.0.html\"]\nupdated = 2015-01-02\n",
            "[taxonomies]\ntags = [\"release\"]\n[extra]\nteam = \"core\"\n+++\n\nRust 1.0 is on its way!\n"
        ),
        false,
    );
    assert_eq!(page.title.as_str(), "Road to Rust 1.0");
    assert_eq!(page.markdown.as_str(), "Rust 1.0 is on its way!\n");
    assert_eq!(page.slug.as_str(), "rust-1-0");
    assert_eq!(page.excerpt.unwrap().as_str(), "On its way!");
    assert_eq!(page.status, Status::Published);
    assert_eq!(names(&page.authors), ["Niko Matsakis"]);
    assert_eq!(texts(&page.tags), ["release"]);
    assert_eq!((page.date, page.updated_at, page.created_at), (Some(day("2014-09-15")), Some(day("2015-01-02")), None));
    assert_eq!(page.redirects, ["2014/09/15/Rust-1.0.html", "2014/09/15/Rust-1.0"]);
    assert_eq!(page.unknown_fields, ["extra.team"]);
    assert!(page.notes.is_empty() && page.templates.is_empty());
}

#[test]
fn a_post_of_jekyll() {
    let page = read_as(
        "_posts/2014-12-12-a-title.md",
        concat!(
            "---\nlayout: post\ntitle: \"A title\"\nauthor: Ada <ada@example.com>\ncategories: News rust\ntags: one two\n",
            "redirect_from:\n  - /old/one/\n---\n\nSee {% include note.html %} and {{ site.url }}.\n"
        ),
        true,
    );
    assert_eq!(page.slug.as_str(), "a-title");
    assert_eq!((page.status, page.date), (Status::Published, Some(day("2014-12-12"))));
    assert_eq!(texts(&page.tags), ["one", "two", "News", "rust"]);
    assert_eq!(page.authors, [Author { name: "Ada".into(), email: Some("ada@example.com".into()) }]);
    assert_eq!(page.redirects, ["old/one", "news/rust/2014/12/12/a-title.html"]);
    assert_eq!(page.unknown_fields, ["layout"]);
    assert_eq!(page.templates, ["include"]);
    assert_eq!(read_as("_drafts/idea.md", "---\ntitle: x\ndate: 2014-01-01\n---\n", true).status, Status::Draft);
    let hidden = read_as("_posts/2014-12-12-b.md", "---\npublished: false\n---\n", true);
    assert_eq!((hidden.status, hidden.title.as_str()), (Status::Draft, "b"));
    assert!(hidden.notes.is_empty(), "{:?}", hidden.notes);
}

#[test]
fn a_post_of_hugo() {
    let page = read_as(
        "posts/my-bundle/index.md",
        concat!(
            "---\nTitle: My bundle\ndate: 2020-05-06T07:08:09+02:00\nlastmod: 2021-01-02\ndraft: false\n",
            "url: https://example.com/blog/my-bundle/\nsummary: Short.\nkeywords: [a]\ntags: [a, B]\nauthors:\n- name: Ada\n",
            "aliases: /old/\n---\n{{< figure src=\"x.png\" >}} {{% note %}}x{{% /note %}} ${{ secrets.x }}\n"
        ),
        false,
    );
    assert_eq!(page.title.as_str(), "My bundle");
    assert_eq!(page.slug.as_str(), "my-bundle");
    assert_eq!(page.date, Some("2020-05-06T05:08:09Z".parse().unwrap()));
    assert_eq!(page.redirects, ["old", "blog/my-bundle"]);
    assert_eq!(texts(&page.tags), ["a", "B"]);
    assert_eq!(page.templates, ["figure", "note", "note"]);
    assert!(page.unknown_fields.is_empty(), "{:?}", page.unknown_fields);
    let json = read_as("a/b.md", "{\"title\": \"x\", \"date\": \"2020-05-06\", \"slug\": \"Own Slug\"}\n\nText", false);
    assert_eq!((json.slug.as_str(), json.markdown.as_str()), ("own-slug", "Text"));
    assert_eq!(json.redirects, ["a/Own Slug"]);
}

#[test]
fn the_title_and_the_date_are_found_somewhere() {
    for (key, content, title, date) in [
        ("2020-01-02-some_words-here.md", "no heading", "some words here", Some(day("2020-01-02"))),
        ("x.md", "```\n# no\n```\n\n## The `first` *heading* ##\n\n# Second", "The first heading", None),
        ("2019/03/04/x.md", "#no\n", "x", Some(day("2019-03-04"))),
        ("2020-01-02-bundle/index.md", "", "bundle", Some(day("2020-01-02"))),
        ("x.md", "---\ncreated: 2001-02-03\n---\n", "x", Some(day("2001-02-03"))),
        ("x.md", "---\npublished: 2001-02-03\n---\n", "x", Some(day("2001-02-03"))),
        ("x.md", "+++\npath = \"2001/02/03/x\"\n+++\n", "x", Some(day("2001-02-03"))),
        ("2020-01-02-x.md", "---\ndate: 2001-02-03\n---\n", "x", Some(day("2001-02-03"))),
        ("_index.md", "", "index", None),
        ("section/_index.md", "", "section", None),
    ] {
        let page = read_as(key, content, false);
        assert_eq!((page.title.as_str(), page.date), (title, date), "{key} {content}");
        assert_eq!(page.status == Status::Published, date.is_some(), "{key} {content}");
    }
}

#[test]
fn what_does_not_fit_is_fitted_with_a_note() {
    let tags: Vec<String> = (0..40).map(|i| format!("tag{i}")).collect();
    let content = format!(
        "---\ntitle: {}\ndate: sometime\ndescription: {}\ntags: [{}, {}]\naliases: [/{}]\n---\n",
        "t".repeat(300),
        "d".repeat(2000),
        "x".repeat(60),
        tags.join(", "),
        "p".repeat(2000),
    );
    let page = read_as("x.md", &content, false);
    assert_eq!(page.title.as_str().chars().count(), 255);
    assert_eq!(page.excerpt.unwrap().as_str().chars().count(), 1000);
    assert_eq!(page.tags.len(), MAX_TAGS);
    assert_eq!(page.redirects, ["x"]);
    assert_eq!(page.notes.len(), 7, "{:?}", page.notes);
    let future = read_as("x.md", "---\ndate: 2030-01-01\n---\n", false);
    assert_eq!((future.status, future.notes.len()), (Status::Draft, 1));
    assert_eq!(texts(&read_as("x.md", "---\ntags: [a, A, á, b]\n---\n", false).tags), ["a", "b"]);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_line() {
    for (content, line, reason) in [
        (&b"---\ntitle: x\n\nText"[..], 1, "does not end"),
        (b"a\nb\xff", 2, "UTF-8"),
        (b"a\0b", 1, "NUL"),
        (&vec![b'a'; 1024 * 1024 + 1], 1, "1 MiB"),
    ] {
        let broken = read("x.md", content, false, now()).unwrap_err();
        assert_eq!(broken.line, line, "{broken:?}");
        assert!(broken.reason.contains(reason), "{broken:?}");
    }
}
