//! The page on which the first administrator makes their account. The one-time secret stands in
//! the fragment of its address, which browsers do not send: it appears in no log.

use axum::Router;
use axum::routing::get;

use crate::app::App;

use super::{asset, page};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const BODY: &str = "<h1>Welcome</h1>\
    <p>Make the account of the first administrator. The address of this page works once.</p>\
    <form id=\"setup\">\
    <label>Name <input name=\"display_name\" required maxlength=\"100\" autocomplete=\"name\"></label>\
    <label>Handle (a-z, 0-9, hyphens) <input name=\"handle\" required maxlength=\"50\" pattern=\"[a-z0-9]+(-[a-z0-9]+)*\" autocomplete=\"username\"></label>\
    <label>E-mail <input name=\"email\" type=\"email\" required maxlength=\"254\" autocomplete=\"email\"></label>\
    <label>Password (at least 15 characters; a few words do well) <input name=\"password\" type=\"password\" required minlength=\"15\" autocomplete=\"new-password\"></label>\
    <button>Make the account</button></form>\
    <p role=\"alert\" id=\"answer\"></p><script src=\"/pages/setup.js\"></script>";

const SCRIPT: &str = include_str!("setup.js");

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/setup", get(async || page(POLICY, "Set up Inkstone", BODY)))
        .route("/pages/setup.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
}
