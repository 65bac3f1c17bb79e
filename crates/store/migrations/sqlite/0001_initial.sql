-- The whole model of a blog.
--
-- Times are integer microseconds since 1970 (UTC), truths are 0 or 1, JSON is text. Every
-- constraint and index has a name. `autoincrement` stands where rows are deleted for good and an
-- id that came back would mean somebody else; posts and people are never deleted for good.

create table site (
    id         integer not null,
    settings   text    not null default '{}',
    version    integer not null default 1,
    updated_at integer not null default 0,
    constraint site_pkey primary key (id),
    constraint site_id_check check (id = 1)
) strict;

insert into site (id) values (1);

-- One row each, bumped inside the transaction that uses the number: gapless within what
-- committed, and in commit order, which a sequence is not.
create table counters (
    name  text    not null,
    value integer not null,
    constraint counters_pkey primary key (name)
) strict, without rowid;

insert into counters (name, value) values ('change_seq', 0);

create table users (
    id            integer not null,
    handle        text    not null,
    email         text,
    email_folded  text,
    display_name  text    not null,
    bio           text    not null default '',
    avatar_url    text,
    role          text    not null,
    disabled      integer not null default 0,
    is_public     integer not null, -- what lists of profiles show: neither disabled nor a reader
    password_hash text,
    version       integer not null default 1,
    created_at    integer not null,
    updated_at    integer not null,
    constraint users_pkey primary key (id),
    constraint users_handle_key unique (handle),
    constraint users_email_folded_key unique (email_folded),
    constraint users_role_check check (role in ('reader', 'contributor', 'author', 'editor', 'administrator')),
    constraint users_disabled_check check (disabled in (0, 1)),
    constraint users_is_public_check check (is_public = (disabled = 0 and role <> 'reader')),
    constraint users_email_check check ((email is null) = (email_folded is null))
) strict;

create index users_is_public_id_idx on users (is_public, id);

-- title, excerpt, words and revision are those of the revision that is shown, so that lists never
-- touch the bodies. Whether a post is public is decided when it is read: published_at <= now.
create table posts (
    id             integer not null,
    slug           text, -- null once deleted
    title          text    not null,
    excerpt        text    not null,
    excerpt_given  integer not null,
    author_id      integer not null, -- the owner: the first of post_authors
    status         text    not null,
    published_at   integer,
    created_at     integer not null,
    updated_at     integer not null,
    version        integer not null default 1,
    words          integer not null,
    revision       integer not null, -- the number of the revision shown
    draft_revision integer,          -- a newer one that is not public yet
    was_public     integer not null default 0,
    deleted_at     integer,
    constraint posts_pkey primary key (id),
    constraint posts_slug_key unique (slug),
    constraint posts_author_id_fkey foreign key (author_id) references users (id),
    constraint posts_status_check check (status in ('draft', 'published', 'deleted')),
    constraint posts_published_at_check check ((status = 'published') = (published_at is not null)),
    constraint posts_deleted_at_check check ((status = 'deleted') = (deleted_at is not null)),
    constraint posts_slug_check check ((status = 'deleted') = (slug is null)),
    constraint posts_excerpt_given_check check (excerpt_given in (0, 1)),
    constraint posts_was_public_check check (was_public in (0, 1))
) strict;

create index posts_published_at_id_idx on posts (published_at, id);
create index posts_status_created_at_id_idx on posts (status, created_at, id, published_at);
create index posts_status_updated_at_id_idx on posts (status, updated_at, id, published_at);
create index posts_status_title_id_idx on posts (status, title, id, published_at);
create index posts_author_id_idx on posts (author_id);

-- What a post said at one time. The large columns come last: the small ones are read without them.
create table revisions (
    id         integer not null,
    post_id    integer not null,
    number     integer not null,
    title      text    not null,
    excerpt    text,             -- given by hand
    summary    text    not null, -- the beginning of the text
    words      integer not null,
    renderer   text    not null,
    created_by integer,
    created_at integer not null,
    markdown   text    not null,
    html       text    not null,
    constraint revisions_pkey primary key (id),
    constraint revisions_post_id_number_key unique (post_id, number),
    constraint revisions_post_id_fkey foreign key (post_id) references posts (id),
    constraint revisions_created_by_fkey foreign key (created_by) references users (id)
) strict;

-- Which revision was, is or will be public in which window; published_at is the date it bears.
create table publications (
    id           integer not null,
    post_id      integer not null,
    revision     integer not null,
    starts_at    integer not null,
    ends_at      integer,
    published_at integer not null,
    created_by   integer,
    constraint publications_pkey primary key (id),
    constraint publications_revision_fkey foreign key (post_id, revision) references revisions (post_id, number),
    constraint publications_created_by_fkey foreign key (created_by) references users (id)
) strict;

create index publications_post_id_starts_at_idx on publications (post_id, starts_at);

-- Ordered links. published_at is the post's (null unless it is published), so that the list of a
-- person or a tag is one walk along one index.
create table post_authors (
    post_id      integer not null,
    position     integer not null,
    user_id      integer not null,
    published_at integer,
    constraint post_authors_pkey primary key (post_id, position),
    constraint post_authors_post_id_user_id_key unique (post_id, user_id),
    constraint post_authors_post_id_fkey foreign key (post_id) references posts (id),
    constraint post_authors_user_id_fkey foreign key (user_id) references users (id)
) strict, without rowid;

create index post_authors_user_id_published_at_idx on post_authors (user_id, published_at, post_id);

create table tags (
    id          integer constraint tags_pkey primary key autoincrement,
    name        text    not null,
    slug        text    not null,
    description text    not null default '',
    version     integer not null default 1,
    created_at  integer not null,
    updated_at  integer not null,
    constraint tags_slug_key unique (slug)
) strict;

create table post_tags (
    post_id      integer not null,
    position     integer not null,
    tag_id       integer not null,
    published_at integer,
    constraint post_tags_pkey primary key (post_id, position),
    constraint post_tags_post_id_tag_id_key unique (post_id, tag_id),
    constraint post_tags_post_id_fkey foreign key (post_id) references posts (id),
    constraint post_tags_tag_id_fkey foreign key (tag_id) references tags (id)
) strict, without rowid;

create index post_tags_tag_id_published_at_idx on post_tags (tag_id, published_at, post_id);

-- Addresses that posts had. A live post that takes one of them takes it out of here.
create table slug_history (
    slug       text    not null,
    post_id    integer not null,
    created_at integer not null,
    constraint slug_history_pkey primary key (slug),
    constraint slug_history_post_id_fkey foreign key (post_id) references posts (id)
) strict, without rowid;

create index slug_history_post_id_idx on slug_history (post_id);

-- Old paths from elsewhere.
create table redirects (
    path       text    not null,
    post_id    integer not null,
    created_at integer not null,
    constraint redirects_pkey primary key (path),
    constraint redirects_post_id_fkey foreign key (post_id) references posts (id)
) strict, without rowid;

create index redirects_post_id_idx on redirects (post_id);

create table imports (
    source      text    not null,
    key         text    not null,
    post_id     integer not null,
    fingerprint blob    not null,
    constraint imports_pkey primary key (source, key),
    constraint imports_post_id_fkey foreign key (post_id) references posts (id)
) strict, without rowid;

create index imports_post_id_idx on imports (post_id);

create table outbox (
    change_seq integer not null,
    event_id   text    not null,
    kind       text    not null,
    subject    text    not null,
    entities   text    not null,
    payload    text    not null,
    request_id text    not null,
    at         integer not null,
    constraint outbox_pkey primary key (change_seq),
    constraint outbox_event_id_key unique (event_id)
) strict;

-- How far each consumer has come, and who is at it until when.
create table outbox_cursors (
    consumer    text    not null,
    change_seq  integer not null,
    lease_owner text,
    lease_until integer,
    constraint outbox_cursors_pkey primary key (consumer)
) strict, without rowid;

create table idempotency_keys (
    scope       text    not null,
    key         text    not null,
    fingerprint blob    not null,
    status      integer not null,
    headers     text    not null,
    created_at  integer not null,
    expires_at  integer not null,
    body        blob    not null,
    constraint idempotency_keys_pkey primary key (scope, key)
) strict;

create index idempotency_keys_expires_at_idx on idempotency_keys (expires_at);

create table audit_log (
    id         integer not null,
    at         integer not null,
    actor_kind text    not null,
    actor_id   integer,
    action     text    not null,
    subject    text    not null,
    request_id text    not null,
    details    text    not null,
    constraint audit_log_pkey primary key (id),
    constraint audit_log_actor_kind_check check (actor_kind in ('anonymous', 'user', 'operator'))
) strict;

create index audit_log_subject_id_idx on audit_log (subject, id);

create table sessions (
    id           integer constraint sessions_pkey primary key autoincrement,
    user_id      integer not null,
    scopes       text    not null,
    created_at   integer not null,
    last_used_at integer not null,
    expires_at   integer not null,
    revoked_at   integer,
    constraint sessions_user_id_fkey foreign key (user_id) references users (id)
) strict;

create index sessions_user_id_id_idx on sessions (user_id, id);
create index sessions_expires_at_idx on sessions (expires_at);

create table refresh_tokens (
    hash       blob    not null,
    session_id integer not null,
    created_at integer not null,
    expires_at integer not null,
    used_at    integer,
    constraint refresh_tokens_pkey primary key (hash),
    constraint refresh_tokens_session_id_fkey foreign key (session_id) references sessions (id)
) strict, without rowid;

create index refresh_tokens_session_id_idx on refresh_tokens (session_id);

create table personal_tokens (
    id           integer constraint personal_tokens_pkey primary key autoincrement,
    user_id      integer not null,
    name         text    not null,
    hint         text    not null,
    hash         blob    not null,
    scopes       text    not null,
    created_at   integer not null,
    expires_at   integer not null,
    last_used_at integer,
    revoked_at   integer,
    constraint personal_tokens_hash_key unique (hash),
    constraint personal_tokens_user_id_fkey foreign key (user_id) references users (id)
) strict;

create index personal_tokens_user_id_id_idx on personal_tokens (user_id, id);
create index personal_tokens_expires_at_idx on personal_tokens (expires_at);

create table signing_keys (
    kid         text    not null,
    state       text    not null,
    pkcs8       blob    not null,
    public      blob    not null,
    created_at  integer not null,
    state_since integer not null,
    constraint signing_keys_pkey primary key (kid),
    constraint signing_keys_state_check check (state in ('next', 'active', 'retired'))
) strict, without rowid;

-- failures: the times of the latest failures as a JSON array, oldest first, bounded.
create table login_throttles (
    key           text    not null,
    failures      text    not null,
    blocked_until integer,
    expires_at    integer not null, -- when nothing in the row counts any more
    constraint login_throttles_pkey primary key (key)
) strict, without rowid;

create index login_throttles_expires_at_idx on login_throttles (expires_at);

create table secrets (
    name  text not null,
    value blob not null,
    constraint secrets_pkey primary key (name)
) strict, without rowid;
