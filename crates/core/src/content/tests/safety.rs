//! What somebody writes in order to harm whoever reads it does not come through.

use std::cell::RefCell;

use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer};
use proptest::prelude::*;

use super::{data, html_of};
use crate::content::{balance, sanitise};

/// Every tag in `html` as a tokenizer of browsers sees them.
fn tags(html: &str) -> Vec<Tag> {
    #[derive(Default)]
    struct Sink(RefCell<Vec<Tag>>);
    impl TokenSink for Sink {
        type Handle = ();
        fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
            match token {
                Token::TagToken(tag) => self.0.borrow_mut().push(tag),
                Token::CommentToken(text) => panic!("a comment came through: {text}"),
                Token::DoctypeToken(_) => panic!("a doctype came through"),
                _ => {}
            }
            TokenSinkResult::Continue
        }
    }
    let tokenizer = Tokenizer::new(Sink::default(), html5ever::tokenizer::TokenizerOpts::default());
    let queue = BufferQueue::default();
    queue.push_back(html.into());
    let _ = tokenizer.feed(&queue);
    tokenizer.end();
    tokenizer.sink.0.take()
}

/// Fails unless a browser would find nothing in `html` but what a post may have.
fn assert_harmless(html: &str, source: &str) {
    const ATTRIBUTES: &[&str] = &[
        "align",
        "alt",
        "aria-hidden",
        "aria-label",
        "checked",
        "cite",
        "class",
        "colspan",
        "datetime",
        "dir",
        "disabled",
        "headers",
        "height",
        "href",
        "id",
        "lang",
        "loading",
        "name",
        "open",
        "rel",
        "reversed",
        "rowspan",
        "scope",
        "span",
        "src",
        "start",
        "title",
        "type",
        "value",
        "width",
    ];
    for tag in tags(html) {
        let name = &*tag.name;
        assert!(sanitise::ELEMENTS.contains(&name), "<{name}> came through from {source:?}: {html}");
        for attribute in &tag.attrs {
            let (key, value) = (&*attribute.name.local, &*attribute.value);
            let footnote = key.starts_with("data-footnote");
            assert!(ATTRIBUTES.contains(&key) || footnote, "{key}={value:?} came through from {source:?}: {html}");
            if matches!(key, "href" | "src" | "cite")
                && let Ok(url) = url::Url::parse(value)
            {
                let allowed: &[&str] =
                    if key == "href" { &["http", "https", "mailto", "tel"] } else { &["http", "https"] };
                assert!(allowed.contains(&url.scheme()), "{value:?} came through from {source:?}");
            }
            if matches!(key, "id" | "name") {
                assert!(value.starts_with("user-content-"), "{key}={value:?} came through from {source:?}");
            }
        }
        if name == "input" && tag.kind == TagKind::StartTag {
            assert!(tag.attrs.iter().any(|a| &*a.name.local == "disabled"), "{html}");
            assert!(tag.attrs.iter().any(|a| &*a.name.local == "type" && &*a.value == "checkbox"), "{html}");
        }
    }
}

#[test]
fn nothing_that_runs_comes_through() {
    let attacks = [
        "<script>alert(1)</script>",
        "<ScRiPt src=//evil.example></sCrIpT>",
        "<img src=x onerror=alert(1)>",
        "<img src=\"data:image/svg+xml;base64,PHN2Zz4=\">",
        "<img src=\"javascript:alert(1)\">",
        "<svg/onload=alert(1)>",
        "<svg><style><img src=x onerror=alert(1)></style></svg>",
        "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
        "<a href=\"javascript:alert(1)\">x</a>",
        "<a href=\"jav&#x09;ascript:alert(1)\">x</a>",
        "<a href=\" &#14; javascript:alert(1)\">x</a>",
        "<a href=\"vbscript:msgbox(1)\">x</a>",
        "<blockquote cite=\"javascript:alert(1)\">x</blockquote>",
        "<q cite=\"data:text/html,x\">x</q>",
        "<del cite=\"jav&#x09;ascript:alert(1)\">x</del>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "![x](javascript:alert(1))",
        "<javascript:alert(1)>",
        "[x]: javascript:alert(1)\n\n[x]",
        "<iframe src=\"https://evil.example\"></iframe>",
        "<iframe srcdoc=\"<script>alert(1)</script>\">",
        "<object data=\"data:text/html,<script>alert(1)</script>\"></object>",
        "<embed src=\"javascript:alert(1)\">",
        "<form action=\"javascript:alert(1)\"><button>x</button></form>",
        "<input type=text name=password autofocus onfocus=alert(1)>",
        "<body onload=alert(1)>",
        "<base href=\"//evil.example/\">",
        "<meta http-equiv=refresh content=\"0;url=//evil.example\">",
        "<link rel=stylesheet href=//evil.example>",
        "<style>*{background:url(//evil.example)}</style>",
        "<p style=\"position:fixed;inset:0\">x</p>",
        "<details open ontoggle=alert(1)>",
        "<video><source onerror=alert(1)></video>",
        "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
        "<textarea><img title=\"</textarea><img src=x onerror=alert(1)>\">",
        "<template><script>alert(1)</script></template>",
        "<xmp><img title=\"</xmp><img src=x onerror=alert(1)>\">",
        "<select><template><script>alert(1)</script></template></select>",
        "<a id=location name=cookie>x</a><img id=document name=body>",
        "```\"><script>alert(1)</script>\nx\n```",
        "# <script>alert(1)</script>",
        "x[^1]\n\n[^1]: <script>alert(1)</script>",
        "<!--><script>alert(1)</script>-->",
        "<!-- x --!><img src=x onerror=alert(1)> -->",
        "<?php <script>alert(1)</script> ?>",
        "<![CDATA[<script>alert(1)</script>]]>",
        "<div/onclick=alert(1)>x</div>",
        "<a href=x\tonclick=alert(1)>x</a>",
        "<p title='\"><script>alert(1)</script>'>x</p>",
        "| <script>alert(1)</script> |\n|-|\n| <img src=x onerror=alert(1)> |",
    ];
    for attack in attacks {
        assert_harmless(&html_of(attack), attack);
        // Within other text, too: what is around a tag changes how it is read.
        for around in ["- {}\n", "> {}\n", "a {} b", "<div>\n\n{}\n\n</div>", "<table><tr><td>{}", "<a title=\"{}\">"] {
            let markdown = around.replace("{}", attack);
            assert_harmless(&html_of(&markdown), &markdown);
        }
    }
}

#[test]
fn naughty_strings_are_harmless() {
    let strings: Vec<String> = serde_json::from_str(&data("naughty-strings/blns.json")).unwrap();
    assert!(strings.len() > 400, "{}", strings.len());
    for string in strings.iter().filter(|string| !string.contains('\0')) {
        assert_harmless(&html_of(string), string);
    }
}

/// Text made of pieces that mean something to one of the three steps.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z <>\"'&=/#!-]{0,8}",
        prop::sample::select(vec![
            "<p>",
            "</p>",
            "<b>",
            "</b>",
            "<a href=\"x\">",
            "</a>",
            "<table>",
            "<tr>",
            "<td>",
            "</table>",
            "<ul>",
            "<li>",
            "</ul>",
            "<svg>",
            "</svg>",
            "<script>",
            "</script>",
            "<style>",
            "</style>",
            "<!--",
            "-->",
            "<textarea>",
            "<math>",
            "<select>",
            "<img src=x onerror=y>",
            "<input>",
            "<h1 id=x>",
            "</h1>",
            "<pre>",
            "</pre>",
            "<br/>",
            "<details>",
            "\n\n",
            "\n",
            "* ",
            "> ",
            "`",
            "```",
            "| a |\n|-|\n",
            "[x](y)",
            "&lt;",
            "&#x3c;",
            "<a id=\"x\"/>",
            "<div ",
            ">",
            "\"",
            "title=\"",
            "<form>",
            "<button>",
            "<template>",
            "<iframe>",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rendering_is_harmless_whatever_is_written(text in hostile()) {
        assert_harmless(&html_of(&text), &text);
    }

    #[test]
    fn sanitising_alone_is_harmless(text in hostile()) {
        assert_harmless(&sanitise::clean(&text), &text);
    }

    #[test]
    fn sanitising_what_is_sanitised_changes_nothing(text in hostile()) {
        let once = sanitise::clean(&balance::balance(&text));
        prop_assert_eq!(sanitise::clean(&once), once);
    }

    #[test]
    fn balancing_what_is_balanced_changes_nothing(text in hostile()) {
        let once = balance::balance(&text);
        prop_assert_eq!(balance::balance(&once), once);
    }
}
