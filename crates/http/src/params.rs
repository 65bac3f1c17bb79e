//! Parameters that many operations share, as the API's documents describe them: each is written
//! once, for every version. Parameters of one reader only stand beside it ([`crate::filters`], the
//! `paging` of each version), and a version's controller names what it takes.

use std::marker::PhantomData;

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Required, Schema};

use crate::wire::Narrow;

/// The number of a post in its address.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the parameter for the API reference; `crate::extract::PathId` reads it")]
pub(crate) struct PostNumber {
    /// The post's number.
    #[param(minimum = 1, example = 42)]
    id: i64,
}

/// The number of a tag in its address.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the parameter for the API reference; `crate::extract::PathId` reads it")]
pub(crate) struct TagNumber {
    /// The tag's number.
    #[param(minimum = 1, example = 3)]
    id: i64,
}

/// The number of a person in their address.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the parameter for the API reference; `crate::extract::PathId` reads it")]
pub(crate) struct UserNumber {
    /// The person's number.
    #[param(minimum = 1, example = 7)]
    id: i64,
}

/// `If-Match` where a write must have it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header for the API reference; `crate::extract::conditional` reads it")]
pub(crate) struct IfMatch {
    /// The ETag that the change is based on.
    #[param(rename = "if-match", pattern = r#"^(\*|"[!#-~]*")$"#, example = "\"v7.q0Zk3uXw\"")]
    if_match: String,
}

/// `If-Match` where a write may go without.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header for the API reference; `crate::extract::conditional` reads it")]
pub(crate) struct OptionalIfMatch {
    /// The ETag that the change is based on; honoured when sent.
    #[param(rename = "if-match", pattern = r#"^(\*|"[!#-~]*")$"#)]
    if_match: Option<String>,
}

/// `Idempotency-Key` of a POST.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header for the API reference; `crate::extract::idempotency` reads it")]
pub(crate) struct IdempotencyKey {
    /// Makes a repetition harmless: the first answer is given again.
    #[param(
        rename = "idempotency-key",
        max_length = 257,
        pattern = r#"^("[!#-\[\]-~]{1,255}"|[!#-+\--:<-\[\]-~]{1,255})$"#,
        example = "8e03978e-40d5"
    )]
    key: Option<String>,
}

/// `fields` of one thing.
pub(crate) struct Fields<T>(PhantomData<T>);

/// `fields` of the rows of a list.
pub(crate) struct RowFields<T>(PhantomData<T>);

impl<T: Narrow> IntoParams for Fields<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![words("fields", "The members to show, separated by commas.", T::FIELDS).build()]
    }
}

impl<T: Narrow> IntoParams for RowFields<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![words("fields", "The members to show of each row, separated by commas.", T::FIELDS).build()]
    }
}

/// What [`crate::extract::QueryReader::words`] reads: words out of `allowed`, separated by commas.
pub(crate) fn words(name: &str, description: &str, allowed: &[&str]) -> ParameterBuilder {
    let word = allowed.join("|");
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(format!("^({word})(,({word}))*$")));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(Schema::Object(text.build())))
}
