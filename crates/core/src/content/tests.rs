//! What the renderer promises: it is CommonMark and GitHub's, it ends, and ([`safety`]) it is safe.

use std::path::PathBuf;

use super::*;
use crate::search;

mod safety;

fn html_of(markdown: &str) -> String {
    render(Markdown::try_from(markdown.to_owned()).unwrap()).html
}

/// Real data from outside of the repository: see its README.
fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("this test needs ../shared/data/{name} beside the project: {error}"))
}

#[test]
fn the_renderer_names_the_versions_that_are_compiled_in() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
    for name in ["comrak", "ammonia"] {
        let entry = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).expect("it is locked").1;
        let version = entry.split('"').next().unwrap();
        assert!(RENDERER.contains(&format!("{name}-{version}")), "{RENDERER} does not name {name} {version}");
    }
}

/// The examples of `file` that come out differently, by number. Tabs are written as arrows there.
fn differing(file: &str, number: &str) -> (usize, Vec<u64>) {
    let examples: Vec<serde_json::Value> = serde_json::from_str(&data(file)).unwrap();
    let differing = examples.iter().filter(|example| {
        let enabled = |name| example["extensions"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let mut ours = options();
        ours.extension.header_id_prefix = None;
        ours.extension.footnotes = false;
        ours.extension.table = enabled("table");
        ours.extension.strikethrough = enabled("strikethrough");
        ours.extension.autolink = enabled("autolink");
        // The two examples of task lists are marked so.
        ours.extension.tasklist = enabled("disabled");
        let text = |key: &str| example[key].as_str().unwrap().replace('→', "\t");
        normal(&comrak::markdown_to_html(&text("markdown"), &ours)) != normal(&text("html"))
    });
    let numbers = differing.map(|example| example[number].as_u64().unwrap()).collect();
    (examples.len(), numbers)
}

/// What differs in spelling only: how empty attributes and elements are written, and in which order.
fn normal(html: &str) -> String {
    html.replace(" />", ">")
        .replace("=\"\"", "")
        .replace("checked disabled type=\"checkbox\"", "type=\"checkbox\" checked disabled")
        .replace("disabled type=\"checkbox\"", "type=\"checkbox\" disabled")
}

#[test]
fn renders_every_example_of_commonmark() {
    assert_eq!(differing("markdown-specs/commonmark-0.31.2.json", "number"), (652, vec![]));
}

#[test]
fn renders_every_example_of_gfm_but_these() {
    // CommonMark nests strong emphasis in strong emphasis, and so do we; GitHub does not.
    let nested = [398, 426, 434, 435, 436, 473, 474, 475, 477];
    // Escapes some raw HTML; here the sanitiser takes it out.
    let disallowed = 652;
    let differ = nested.into_iter().chain([disallowed]).collect();
    assert_eq!(differing("markdown-specs/gfm.json", "example"), (672, differ));
}

#[test]
fn what_makes_a_post_comes_through() {
    let html = html_of(concat!(
        "# A *heading*\n\nText with `code`, ~~not~~, https://example.com and a note[^1].\n\n",
        "```rust\nfn main() {}\n```\n\n| a | b |\n|:-:|--:|\n| 1 | 2 |\n\n- [x] done\n- [ ] open\n\n",
        "[mail](mailto:a@example.com) [here](#a-heading) ![image](/i.png)\n\n",
        "<details><summary>More</summary>\n\nHidden <kbd>Ctrl</kbd>\n\n</details>\n\n[^1]: The note.\n"
    ));
    for expected in [
        "id=\"user-content-a-heading\"",
        "<em>heading</em>",
        "<code>code</code>",
        "<del>not</del>",
        "<a href=\"https://example.com\" rel=\"noopener noreferrer\">https://example.com</a>",
        "<code class=\"language-rust\">",
        "<td align=\"right\">2</td>",
        "href=\"mailto:a@example.com\"",
        "href=\"#user-content-a-heading\"",
        "<img src=\"/i.png\" alt=\"image\">",
        "<details><summary>More</summary>",
        "<kbd>Ctrl</kbd>",
        "id=\"user-content-fn-1\"",
        "href=\"#user-content-fn-1\"",
        "class=\"footnotes\"",
    ] {
        assert!(html.contains(expected), "{expected} is not in {html}");
    }
    assert_eq!(html.matches("<input").count(), 2, "{html}");
    assert_eq!(html.matches("checked=\"\"").count(), 1, "{html}");
}

#[test]
fn html_that_is_in_order_stays_as_it_is() {
    for html in [
        "<p>a <b>b</b> <a href=\"x\">c</a><br>d</p>",
        "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>",
        "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table>",
        "<p>1 &lt; 2</p>",
    ] {
        assert_eq!(balance::balance(html), html);
    }
}

#[test]
fn html_that_is_not_in_order_is_brought_into_it() {
    for (given, expected) in [
        ("<b><i>x</b>y</i>", "<b><i>x</i></b>y"),
        ("<p>a<p>b", "<p>a</p><p>b</p>"),
        ("<p><b>a<div>b</div>", "<p><b>a</b></p><div>b</div>"),
        ("<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>"),
        ("</div>a", "a"),
        ("<a id=\"x\"/>text", "<a id=\"x\"></a>text"),
        ("1 < 2 <", "1 &lt; 2 &lt;"),
        ("<a href=\"x>y", "&lt;a href=\"x>y"),
        ("a<!-- b -->c<!-- d", "ac&lt;!-- d"),
        ("a<SCRIPT>b</Script >c<script>d", "acd"),
        ("<blink>a</blink>", "a"),
        ("<table><tr><td><b>a<td>b</table>c", "<table><tr><td><b>a</b></td><td>b</td></tr></table>c"),
    ] {
        assert_eq!(balance::balance(given), expected, "{given}");
    }
}

/// These keep a processor busy for minutes or hours, or fill the memory, wherever one of the
/// steps costs more than its input is long. There is no clock here: a test that does not end
/// fails by the runner's limit.
fn defuse(bombs: &[String]) {
    for bomb in bombs {
        let content = render(Markdown::try_from(bomb.clone()).unwrap());
        let beginning: String = bomb.chars().take(20).collect();
        assert!(content.html.len() <= 2 * MAX_HTML_BYTES, "{beginning}: {} bytes", content.html.len());
    }
}

#[test]
fn nested_markdown_does_not_go_off() {
    let n = 100_000;
    defuse(&[
        ">".repeat(n),
        "> ".repeat(n),
        "- ".repeat(n),
        "1. ".repeat(n),
        "[".repeat(n),
        "![".repeat(n),
        "*".repeat(n),
        "*a ".repeat(n),
        "`".repeat(n),
        "~a ".repeat(n),
        "\\".repeat(n),
    ]);
}

#[test]
fn repeated_markdown_does_not_go_off() {
    let n = 20_000;
    defuse(&[
        "[a](".repeat(n),
        "**a *a ".repeat(n),
        "_a **b ".repeat(n),
        (1..600).map(|i| "`".repeat(i) + "a").collect(),
        "&".repeat(n),
        "«".repeat(n),
        "a@b.".repeat(n),
        "www.".repeat(n),
        "# #\n".repeat(n / 10),
        format!("![{}](x)", "&".repeat(n)),
    ]);
}

#[test]
fn what_is_far_longer_than_it_was_written_is_shown_as_written() {
    let n = 100_000;
    let footnotes = "[^1]".repeat(n) + "\n\n[^1]: x";
    let html = html_of(&footnotes);
    assert!(html.starts_with("<pre>[^1][^1]"), "{}", &html[..100]);
    defuse(&[
        format!("[a]: /{}\n\n{}", "x".repeat(n), "[a] ".repeat(n)),
        format!("|{}\n|{}\n{}", "a|".repeat(500), "-|".repeat(500), "|\n".repeat(n)),
    ]);
}

#[test]
fn html_does_not_go_off() {
    let n = 20_000;
    defuse(&[
        "<".repeat(n),
        "<!--".repeat(n),
        "<a x=\"".repeat(n),
        "<a x='<a y=\"".repeat(n),
        "<div>".repeat(n),
        "<b>".repeat(n),
        (0..n).fold(String::new(), |bomb, i| bomb + &format!("<b a={i}>")) + &"<p>x".repeat(n),
        format!("<ul><li>{}{}", "<b><i><s>".repeat(5), "<li>x".repeat(n)),
        "<svg>".repeat(n),
        format!("<svg></svg {}", "</svg ".repeat(n)),
        "<table><tr><td>".repeat(n / 5),
        "</p>".repeat(n),
        format!("<p title=\"{}\">", "&".repeat(n)),
    ]);
}

#[test]
fn long_texts_stay_what_they_are() {
    for text in ["&amp; ", "word ", "é", "&", "x", "日本語&lt;"] {
        let long = text.repeat(20_000);
        let html = html_of(&long);
        let expected = html_of(text);
        let piece = expected.trim_start_matches("<p>").trim_end().trim_end_matches("</p>");
        assert_eq!(html.replace(' ', ""), format!("<p>{}</p>\n", piece.repeat(20_000)).replace(' ', ""), "{text}");
    }
}

#[test]
fn words_are_counted_in_every_script() {
    for (text, words) in [
        ("", 0),
        ("one", 1),
        ("Don't re-read it, e.g. **un**broken.", 5),
        ("a\nb\n\nc", 3),
        ("`some code` and\n\n    more code\n", 5),
        ("— … !", 0),
        ("我们都是人", 5),
        ("ひらがなとカタカナ", 9),
        ("모든 인간은 태어날 때부터", 4),
        ("มนุษย์ทั้งหลาย", 3),
        ("все люди рождаются", 3),
        ("1948 年", 2),
        ("![not](x.png) <b>this</b> [but](x) *this*", 4),
    ] {
        assert_eq!(render(Markdown::try_from(text.to_owned()).unwrap()).words, words, "{text}");
    }
}

#[test]
fn a_summary_is_the_beginning_of_the_text() {
    let summary = |text: &str| render(Markdown::try_from(text.to_owned()).unwrap()).summary;
    assert_eq!(
        summary("# Title\n\nFirst *words*\nof `it`.\n\n```\nno code\n```\n\n- And a [link](x)[^1].\n\n[^1]: note"),
        "First words of it. And a link."
    );
    let long = summary(&"word ".repeat(10_000));
    assert_eq!(long, format!("{}…", vec!["word"; 50].join(" ")));
    let endless = summary(&"x".repeat(10_000));
    assert_eq!(endless.chars().count(), 401);
    assert_eq!(summary(&"字".repeat(60)), format!("{}…", "字".repeat(50)));
    assert_eq!(summary("# Only a heading"), "");
}

#[test]
fn a_summary_holds_what_a_reader_sees() {
    for (text, seen) in [
        ("Before <script>alert(1)</script> after.", "Before after."),
        ("Before <STYLE media=all>*p* { x }</style > after.", "Before after."),
        ("Before <svg>one\n\ntwo `three`\n\n</svg> after.", "Before after."),
        ("Before <script>one <style>two</script> three</style> four.", "Before three four."),
        ("Before <b>and</b> <!-- not --> after.", "Before and after."),
        ("<div> <!--\n\nNot.\n\n<div> --> </div>\n\nAfter.", "After."),
        // Nothing ends it, so that only the tag itself is taken out.
        ("Before <script>alert(1)\n\nafter.", "Before alert(1) after."),
        ("Before <style>x <style>y</style> after.", "Before after."),
        // In the text of an image, a tag is text.
        ("Before ![<script>](x) after </script> it.", "Before after it."),
    ] {
        let Content { html, summary, words, .. } = render(Markdown::try_from(text.to_owned()).unwrap());
        assert_eq!(summary, seen, "{text}");
        assert_eq!(search::of_text(&summary), search::of_html(&html), "{text}: {html}");
        assert_eq!(words, i64::try_from(seen.split(' ').count()).unwrap(), "{text}");
    }
}

#[tokio::test]
async fn long_texts_are_rendered_elsewhere_with_the_same_result() {
    let ctx = Context::new(
        crate::access::Caller::Operator,
        "",
        crate::Deadline::at(
            crate::clock::Clock::instant(&crate::clock::SystemClock) + std::time::Duration::from_hours(1),
        ),
    );
    for length in [10, Renderer::SHORT_BYTES, Renderer::SHORT_BYTES * 10] {
        let markdown = Markdown::try_from("word ".repeat(length / 5 + 1)).unwrap();
        let content = Renderer::new(1).render(&ctx, markdown.clone()).await.unwrap();
        assert_eq!(content, render(markdown));
    }
    let late =
        Context { deadline: crate::Deadline::at(crate::clock::Clock::instant(&crate::clock::SystemClock)), ..ctx };
    let error = Renderer::new(0).render(&late, Markdown::try_from("x".repeat(5000)).unwrap()).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
}
