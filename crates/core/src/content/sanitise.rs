//! What of HTML may stand in a post. Everything that is not named here goes.
//!
//! - Elements of text, lists, tables, figures and images. Nothing that runs, frames, plays, sends
//!   or styles: no script, style, iframe, object, form, svg or math. The one form element is the
//!   disabled checkbox of a task list.
//! - Links to `http:`, `https:`, `mailto:`, `tel:` and relative addresses; images, and where
//!   quotations come from, at `http:`, `https:` and relative addresses. No `javascript:`, no `data:`.
//! - Links carry `rel="noopener noreferrer"`, so that a page that opens them in a window of its
//!   own gives nothing away. Not `nofollow`: those who write here are trusted with their links.
//! - Classes: `language-*` on code, and those that the renderer makes for headings and footnotes.
//! - Ids and names get a prefix, as do links to them, so that no text can shadow a variable or an
//!   element of the page around it (DOM clobbering).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};

/// In front of every id that comes out of a text.
const ID_PREFIX: &str = "user-content-";

/// Elements that stay.
pub(super) const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "b",
    "bdi",
    "bdo",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "details",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "input",
    "ins",
    "kbd",
    "li",
    "mark",
    "ol",
    "p",
    "pre",
    "q",
    "rp",
    "rt",
    "ruby",
    "s",
    "samp",
    "section",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "time",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "wbr",
];

/// Elements that go with all they hold. Of all others that are not allowed, the content stays.
pub(super) const EMPTIED: &[&str] = &[
    "iframe",
    "math",
    "noembed",
    "noframes",
    "noscript",
    "object",
    "plaintext",
    "script",
    "select",
    "style",
    "svg",
    "template",
    "textarea",
    "title",
    "xmp",
];

const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("a", &["href", "name", "class", "aria-label", "aria-hidden", "data-footnote-ref", "data-footnote-backref"]),
    ("blockquote", &["cite"]),
    ("code", &["class"]),
    ("col", &["span"]),
    ("colgroup", &["span"]),
    ("del", &["cite", "datetime"]),
    ("details", &["open"]),
    ("img", &["src", "alt", "width", "height", "loading"]),
    ("input", &["checked"]),
    ("ins", &["cite", "datetime"]),
    ("li", &["value"]),
    ("ol", &["start", "reversed"]),
    ("q", &["cite"]),
    ("section", &["class", "data-footnotes"]),
    ("sup", &["class"]),
    ("td", &["align", "colspan", "rowspan", "headers"]),
    ("th", &["align", "colspan", "rowspan", "headers", "scope"]),
    ("time", &["datetime"]),
];

const CLASSES: &[&str] = &["anchor", "footnote-backref", "footnote-ref", "footnotes"];

static CLEANER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let set = |items: &[&'static str]| -> HashSet<&'static str> { items.iter().copied().collect() };
    let attributes: HashMap<_, _> = ATTRIBUTES.iter().map(|(element, names)| (*element, set(names))).collect();
    let mut cleaner = Builder::empty();
    cleaner
        .tags(set(ELEMENTS))
        .clean_content_tags(set(EMPTIED))
        .tag_attributes(attributes)
        .generic_attributes(set(&["dir", "id", "lang", "title"]))
        .set_tag_attribute_value("input", "type", "checkbox")
        .set_tag_attribute_value("input", "disabled", "")
        .url_schemes(set(&["http", "https", "mailto", "tel"]))
        .url_relative(UrlRelative::PassThrough)
        .link_rel(Some("noopener noreferrer"))
        .strip_comments(true)
        .attribute_filter(filter);
    cleaner
});

/// Takes out of `html` whatever may not stand in a post.
pub(super) fn clean(html: &str) -> String {
    CLEANER.clean(html).to_string()
}

/// The second look at attributes that may stay at all.
fn filter<'a>(element: &str, attribute: &str, value: &'a str) -> Option<Cow<'a, str>> {
    match (element, attribute) {
        (_, "class") => classes(element, value).map(Cow::Owned),
        (_, "id" | "name") => prefixed(value).map(Cow::Owned),
        (_, "href") => match value.strip_prefix('#') {
            Some(target) if !target.is_empty() => prefixed(target).map(|target| Cow::Owned(format!("#{target}"))),
            _ => Some(Cow::Borrowed(value)),
        },
        // No browser follows `cite`, but scripts of sites make links of it.
        ("img", "src") | (_, "cite") => is_web_address(value).then_some(Cow::Borrowed(value)),
        _ => Some(Cow::Borrowed(value)),
    }
}

/// The classes that may stay.
fn classes(element: &str, value: &str) -> Option<String> {
    let is_language = |class: &str| {
        class.strip_prefix("language-").is_some_and(|language| {
            !language.is_empty() && language.chars().all(|c| c.is_alphanumeric() || "_+#.,-".contains(c))
        })
    };
    let kept: Vec<&str> = value
        .split_ascii_whitespace()
        .filter(|class| CLASSES.contains(class) || (element == "code" && is_language(class)))
        .collect();
    (!kept.is_empty()).then(|| kept.join(" "))
}

/// An id with the prefix, once.
fn prefixed(id: &str) -> Option<String> {
    if id.is_empty() || id.chars().any(char::is_whitespace) {
        return None;
    }
    Some(if id.starts_with(ID_PREFIX) { id.to_owned() } else { format!("{ID_PREFIX}{id}") })
}

/// Links may lead to mail and telephones; images and quotations come from the web or from here.
fn is_web_address(value: &str) -> bool {
    match url::Url::parse(value) {
        Ok(url) => matches!(url.scheme(), "http" | "https"),
        Err(error) => error == url::ParseError::RelativeUrlWithoutBase,
    }
}
