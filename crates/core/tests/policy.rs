//! Who may do what, as tables that can be read.
#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

use inkstone_core::access::{Caller, Credential, Role, Scope, Scopes, SignedIn};
use inkstone_core::posts::{Post, PostChange, PostFilter, PostId, Status, Title, policy};
use inkstone_core::text::Slug;
use inkstone_core::users::{self, Bio, DisplayName, Handle, User, UserChange, UserId, UserRef};
use inkstone_core::{Code, Result};
use jiff::Timestamp;

const ME: UserId = UserId(1);
const SOMEBODY: UserId = UserId(2);

fn signed_in(role: Role, scopes: Scopes) -> Caller {
    Caller::User(SignedIn { user: ME, role, scopes, credential: Credential::Session(1) })
}

/// The columns of the tables, from left to right.
fn everybody() -> Vec<Caller> {
    let roles = Role::ALL.into_iter().map(|role| signed_in(role, Scopes::all()));
    std::iter::once(Caller::Anonymous).chain(roles).chain([Caller::Operator]).collect()
}

fn post(author: UserId, status: Status) -> Post {
    Post {
        id: PostId(7),
        slug: Slug::from_text("a post", "post"),
        title: Title::try_from("A post".to_owned()).unwrap(),
        excerpt: String::new(),
        excerpt_given: false,
        status,
        authors: vec![UserRef { id: author, handle: String::new(), display_name: String::new() }],
        tags: vec![],
        revision: 1,
        version: 1,
        words: 0,
        published_at: (status == Status::Published).then_some(Timestamp::UNIX_EPOCH),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        markdown: None,
        html: None,
    }
}

fn change_to(status: Status, authors: Option<Vec<UserId>>) -> PostChange {
    PostChange {
        title: None,
        content: None,
        slug: None,
        excerpt: None,
        status,
        published_at: None,
        tags: None,
        may_create_tags: false,
        authors,
        updated_at: Timestamp::UNIX_EPOCH,
        redirects: None,
        import: None,
    }
}

fn status_of<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => "yes",
        Err(error) => match error.code() {
            Code::Unauthenticated => "401",
            Code::Forbidden => "403",
            Code::InsufficientScope => "scope",
            Code::NotFound => "404",
            code => panic!("{code:?}"),
        },
    }
}

/// Compares one row: the answers to everybody, from anonymous to the operator.
fn row(action: &str, expected: &str, answer: impl Fn(&Caller) -> &'static str) {
    let answers: Vec<_> = everybody().iter().map(answer).collect();
    assert_eq!(answers.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "), "{action}");
}

#[test]
#[rustfmt::skip] // The tables are to be read as tables.
fn posts_by_role() {
    use Status::{Draft, Published};
    let see = |author, status| move |caller: &Caller| if policy::may_see(caller, &post(author, status)) { "yes" } else { "404" };
    let create = |status, authors: &'static [UserId]| {
        move |caller: &Caller| status_of(policy::may_create(caller, status, authors))
    };
    let change = |author, from, to| {
        move |caller: &Caller| status_of(policy::change(caller, &post(author, from), change_to(to, None)))
    };
    let sign = |author, authors: &'static [UserId]| {
        move |caller: &Caller| {
            status_of(policy::change(caller, &post(author, Draft), change_to(Draft, Some(authors.to_vec()))))
        }
    };
    let delete =
        |author, status| move |caller: &Caller| status_of(policy::delete(caller, &post(author, status)));
    let list = |status| {
        move |caller: &Caller| {
            let filter = PostFilter { status, ..PostFilter::default() };
            match policy::narrow(caller, filter) {
                Ok(PostFilter { only_by: Some(ME), status: Some(Draft), .. }) => "own",
                Ok(PostFilter { only_by: None, status: Some(_), .. }) => "yes",
                Ok(filter) => panic!("{filter:?}"),
                Err(error) => status_of::<()>(Err(error)),
            }
        }
    };
    //                                          anon read cont auth edit admi oper
    row("see a published post of one's own",   "yes  yes  yes  yes  yes  yes  yes", see(ME, Published));
    row("see a published post of another's",   "yes  yes  yes  yes  yes  yes  yes", see(SOMEBODY, Published));
    row("see a draft of one's own",            "404  404  yes  yes  yes  yes  yes", see(ME, Draft));
    row("see a draft of another's",            "404  404  404  404  yes  yes  yes", see(SOMEBODY, Draft));
    row("list posts",                          "yes  yes  yes  yes  yes  yes  yes", list(None));
    row("list published posts",                "yes  yes  yes  yes  yes  yes  yes", list(Some(Published)));
    row("list drafts",                         "401  403  own  own  yes  yes  yes", list(Some(Draft)));
    row("write a draft",                       "401  403  yes  yes  yes  yes  yes", create(Draft, &[ME]));
    row("write and publish",                   "401  403  403  yes  yes  yes  yes", create(Published, &[ME]));
    row("write a draft in another's name",     "401  403  403  403  yes  yes  yes", create(Draft, &[SOMEBODY]));
    row("write a draft with another",          "401  403  403  403  yes  yes  yes", create(Draft, &[ME, SOMEBODY]));
    row("publish in another's name",           "401  403  403  403  yes  yes  yes", create(Published, &[SOMEBODY]));
    row("change a draft of one's own",         "401  404  yes  yes  yes  yes  yes", change(ME, Draft, Draft));
    row("change a draft of another's",         "401  404  404  404  yes  yes  yes", change(SOMEBODY, Draft, Draft));
    row("publish a draft of one's own",        "401  404  403  yes  yes  yes  yes", change(ME, Draft, Published));
    row("publish a draft of another's",        "401  404  404  404  yes  yes  yes", change(SOMEBODY, Draft, Published));
    row("change a published post of one's own","401  403  403  yes  yes  yes  yes", change(ME, Published, Published));
    row("change a published post of another's","401  403  403  403  yes  yes  yes", change(SOMEBODY, Published, Published));
    row("unpublish a post of one's own",       "401  403  403  yes  yes  yes  yes", change(ME, Published, Draft));
    row("unpublish a post of another's",       "401  403  403  403  yes  yes  yes", change(SOMEBODY, Published, Draft));
    row("name the same authors again",         "401  404  yes  yes  yes  yes  yes", sign(ME, &[ME]));
    row("give a draft of one's own away",      "401  404  403  403  yes  yes  yes", sign(ME, &[SOMEBODY]));
    row("name another beside oneself",         "401  404  403  403  yes  yes  yes", sign(ME, &[ME, SOMEBODY]));
    row("take over another's draft",           "401  404  404  404  yes  yes  yes", sign(SOMEBODY, &[ME]));
    row("delete a draft of one's own",         "401  404  yes  yes  yes  yes  yes", delete(ME, Draft));
    row("delete a draft of another's",         "401  404  404  404  yes  yes  yes", delete(SOMEBODY, Draft));
    row("delete a published post of one's own","401  403  403  yes  yes  yes  yes", delete(ME, Published));
    row("delete a published post of another's","401  403  403  403  yes  yes  yes", delete(SOMEBODY, Published));
    row("import posts",                        "401  403  403  403  403  403  yes", |caller| status_of(policy::may_import(caller)));
}

#[test]
fn scopes_only_narrow() {
    use Status::{Draft, Published};
    let token = |role, scopes: &[Scope]| signed_in(role, scopes.iter().copied().collect());
    let see = |caller: &Caller, author| policy::may_see(caller, &post(author, Draft));
    let change = |caller: &Caller, author, status| {
        status_of(policy::change(caller, &post(author, status), change_to(status, None)))
    };
    let reads = token(Role::Editor, &[Scope::Read]);
    assert!(see(&reads, ME) && see(&reads, SOMEBODY));
    assert_eq!(change(&reads, ME, Draft), "scope");
    assert_eq!(change(&reads, SOMEBODY, Draft), "scope");
    assert_eq!(change(&reads, SOMEBODY, Published), "scope");
    assert_eq!(status_of(policy::may_create(&reads, Draft, &[ME])), "scope");

    let writes = token(Role::Author, &[Scope::Posts]);
    assert!(!see(&writes, ME) && !see(&writes, SOMEBODY));
    assert_eq!(change(&writes, ME, Draft), "yes", "who may write need not be able to read");
    assert_eq!(change(&writes, SOMEBODY, Draft), "404");
    assert_eq!(change(&writes, SOMEBODY, Published), "403");

    let unrelated = token(Role::Administrator, &[Scope::Account]);
    assert!(!see(&unrelated, ME));
    assert_eq!(change(&unrelated, ME, Draft), "404");
    assert_eq!(change(&unrelated, ME, Published), "scope");
    assert!(policy::whose_drafts(&unrelated).is_err());

    // A scope that the role has no use for adds nothing.
    for role in Role::ALL {
        let all = signed_in(role, Scopes::all());
        let table = role.permissions();
        for permission in Role::Administrator.permissions() {
            assert_eq!(all.can(*permission), table.contains(permission), "{role:?} {permission:?}");
        }
    }
}

#[test]
fn every_role_includes_those_before_it() {
    for pair in Role::ALL.windows(2) {
        let lesser = pair[0].permissions();
        assert!(lesser.iter().all(|permission| pair[1].permissions().contains(permission)), "{pair:?}");
        assert!(lesser.len() < pair[1].permissions().len(), "{pair:?}");
    }
}

fn user(id: UserId, role: Role, disabled: bool) -> User {
    User {
        id,
        handle: Handle::from_name("somebody"),
        email: None,
        display_name: DisplayName::try_from("Somebody".to_owned()).unwrap(),
        bio: Bio::default(),
        avatar_url: None,
        role,
        disabled,
        version: 1,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
#[rustfmt::skip] // The tables are to be read as tables.
fn people_by_role() {
    let see = |id, role, disabled| {
        move |caller: &Caller| if users::policy::may_see(caller, &user(id, role, disabled)) { "yes" } else { "404" }
    };
    let change = |id, change: UserChange| {
        move |caller: &Caller| status_of(users::policy::change(caller, &user(id, Role::Author, false), change.clone()))
    };
    let bio = UserChange { bio: Some(Bio::default()), ..UserChange::default() };
    let role = UserChange { role: Some(Role::Administrator), ..UserChange::default() };
    let disabled = UserChange { disabled: Some(true), ..UserChange::default() };
    let password = UserChange { password_hash: Some(String::new()), ..UserChange::default() };
    //                                   anon read cont auth edit admi oper
    row("see an author's profile",      "yes  yes  yes  yes  yes  yes  yes", see(SOMEBODY, Role::Author, false));
    row("see a reader's profile",       "404  404  404  404  404  yes  yes", see(SOMEBODY, Role::Reader, false));
    row("see one's own as a reader",    "404  yes  yes  yes  yes  yes  yes", see(ME, Role::Reader, false));
    row("see who is disabled",          "404  404  404  404  404  yes  yes", see(SOMEBODY, Role::Author, true));
    row("list accounts",                "401  403  403  403  403  yes  yes", |caller| status_of(users::policy::list_accounts(caller)));
    row("see one's own account",        "401  yes  yes  yes  yes  yes  403", |caller| status_of(users::policy::own_account(caller)));
    row("change one's own profile",     "401  yes  yes  yes  yes  yes  yes", change(ME, bio.clone()));
    row("change another's profile",     "401  403  403  403  403  yes  yes", change(SOMEBODY, bio));
    row("change one's own role",        "401  403  403  403  403  403  yes", change(ME, role.clone()));
    row("change another's role",        "401  403  403  403  403  yes  yes", change(SOMEBODY, role));
    row("disable oneself",              "401  403  403  403  403  403  yes", change(ME, disabled.clone()));
    row("disable another",              "401  403  403  403  403  yes  yes", change(SOMEBODY, disabled));
    row("set another's password",       "401  403  403  403  403  yes  yes", change(SOMEBODY, password));
}

#[test]
#[rustfmt::skip] // The tables are to be read as tables.
fn tags_by_role() {
    use inkstone_core::tags::{NewTag, TagChange, TagDescription, TagName, policy};
    let name = TagName::try_from("Rust".to_owned()).unwrap();
    let new = NewTag { slug: name.slug(), name, description: TagDescription::default(), created_at: Timestamp::UNIX_EPOCH };
    //                    anon read cont auth edit admi oper
    row("make a tag",    "401  403  403  yes  yes  yes  yes", |caller| status_of(policy::create(caller, new.clone())));
    row("rename a tag",  "401  403  403  403  yes  yes  yes", |caller| status_of(policy::change(caller, TagChange::default())));
    row("delete a tag",  "401  403  403  403  yes  yes  yes", |caller| status_of(policy::delete(caller)));
}
