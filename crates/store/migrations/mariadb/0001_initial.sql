-- The whole model of a blog: the same tables, columns and names as under SQLite. Times are bigint
-- microseconds since 1970 (UTC), truths are 0 or 1, JSON is text. Text is compared byte by byte,
-- spaces at its end included, so that a list has one order everywhere. Every constraint and index has
-- a name, but for primary keys, which MariaDB calls PRIMARY.
--
-- Changes of the schema are not part of a transaction here: a migration that broke off is run again
-- from its beginning. Each statement can be run twice, and indexes are made with their tables.
--
-- Text that a key is made of has a greatest length, 3,072 bytes for all columns of the key. Nothing
-- that the program lets in is longer.

create table if not exists site (
    id         bigint     not null,
    settings   mediumtext not null default ('{}'),
    version    bigint     not null default 1,
    updated_at bigint     not null default 0,
    constraint site_pkey primary key (id),
    constraint site_id_check check (id = 1)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

insert ignore into site (id) values (1);

-- One row each, bumped inside the transaction that uses the number: gapless within what
-- committed, and in commit order, which a sequence is not.
create table if not exists counters (
    name  varchar(64) not null,
    value bigint      not null,
    constraint counters_pkey primary key (name)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

insert ignore into counters (name, value) values ('change_seq', 0);

create table if not exists users (
    id            bigint        not null auto_increment,
    handle        varchar(64)   not null,
    email         varchar(255),
    email_folded  varchar(255),
    display_name  varchar(255)  not null,
    bio           varchar(2000) not null default '',
    avatar_url    varchar(2048),
    role          varchar(16)   not null,
    disabled      bigint        not null default 0,
    is_public     bigint        not null, -- what lists of profiles show: neither disabled nor a reader
    password_hash varchar(512),
    version       bigint        not null default 1,
    created_at    bigint        not null,
    updated_at    bigint        not null,
    constraint users_pkey primary key (id),
    constraint users_handle_key unique (handle),
    constraint users_email_folded_key unique (email_folded),
    constraint users_role_check check (role in ('reader', 'contributor', 'author', 'editor', 'administrator')),
    constraint users_disabled_check check (disabled in (0, 1)),
    constraint users_is_public_check check ((is_public = 1) = (disabled = 0 and role <> 'reader')),
    constraint users_email_check check ((email is null) = (email_folded is null)),
    index users_is_public_id_idx (is_public, id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

-- title, excerpt, words and revision are those of the revision that is shown, so that lists never
-- touch the bodies. Whether a post is public is decided when it is read: published_at <= now.
create table if not exists posts (
    id             bigint       not null auto_increment,
    slug           varchar(100), -- null once deleted
    title          varchar(255) not null,
    excerpt        text         not null,
    excerpt_given  bigint       not null,
    author_id      bigint       not null, -- the owner: the first of post_authors
    status         varchar(16)  not null,
    published_at   bigint,
    created_at     bigint       not null,
    updated_at     bigint       not null,
    version        bigint       not null default 1,
    words          bigint       not null,
    revision       bigint       not null, -- the number of the revision shown
    draft_revision bigint, -- a newer one that is not public yet
    was_public     bigint       not null default 0,
    deleted_at     bigint,
    constraint posts_pkey primary key (id),
    constraint posts_slug_key unique (slug),
    constraint posts_author_id_fkey foreign key (author_id) references users (id),
    constraint posts_status_check check (status in ('draft', 'published', 'deleted')),
    constraint posts_published_at_check check ((status = 'published') = (published_at is not null)),
    constraint posts_deleted_at_check check ((status = 'deleted') = (deleted_at is not null)),
    constraint posts_slug_check check ((status = 'deleted') = (slug is null)),
    constraint posts_excerpt_given_check check (excerpt_given in (0, 1)),
    constraint posts_was_public_check check (was_public in (0, 1)),
    index posts_published_at_id_idx (published_at, id),
    index posts_status_created_at_id_idx (status, created_at, id, published_at),
    index posts_status_updated_at_id_idx (status, updated_at, id, published_at),
    index posts_status_title_id_idx (status, title, id, published_at),
    index posts_author_id_idx (author_id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

-- What a post said at one time. The large columns come last: the small ones are read without them.
create table if not exists revisions (
    id         bigint       not null auto_increment,
    post_id    bigint       not null,
    number     bigint       not null,
    title      varchar(255) not null,
    excerpt    text, -- given by hand
    summary    text         not null, -- the beginning of the text
    words      bigint       not null,
    renderer   varchar(64)  not null,
    created_by bigint,
    created_at bigint       not null,
    markdown   mediumtext   not null,
    html       longtext     not null,
    constraint revisions_pkey primary key (id),
    constraint revisions_post_id_number_key unique (post_id, number),
    constraint revisions_post_id_fkey foreign key (post_id) references posts (id),
    constraint revisions_created_by_fkey foreign key (created_by) references users (id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

-- Which revision was, is or will be public in which window; published_at is the date it bears.
create table if not exists publications (
    id           bigint not null auto_increment,
    post_id      bigint not null,
    revision     bigint not null,
    starts_at    bigint not null,
    ends_at      bigint,
    published_at bigint not null,
    created_by   bigint,
    constraint publications_pkey primary key (id),
    constraint publications_revision_fkey foreign key (post_id, revision) references revisions (post_id, number),
    constraint publications_created_by_fkey foreign key (created_by) references users (id),
    index publications_post_id_starts_at_idx (post_id, starts_at)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

-- Ordered links. published_at is the post's (null unless it is published), so that the list of a
-- person or a tag is one walk along one index.
create table if not exists post_authors (
    post_id      bigint not null,
    position     bigint not null,
    user_id      bigint not null,
    published_at bigint,
    constraint post_authors_pkey primary key (post_id, position),
    constraint post_authors_post_id_user_id_key unique (post_id, user_id),
    constraint post_authors_post_id_fkey foreign key (post_id) references posts (id),
    constraint post_authors_user_id_fkey foreign key (user_id) references users (id),
    index post_authors_user_id_published_at_idx (user_id, published_at, post_id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists tags (
    id          bigint       not null auto_increment,
    name        varchar(100) not null,
    slug        varchar(100) not null,
    description varchar(500) not null default '',
    version     bigint       not null default 1,
    created_at  bigint       not null,
    updated_at  bigint       not null,
    constraint tags_pkey primary key (id),
    constraint tags_slug_key unique (slug)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists post_tags (
    post_id      bigint not null,
    position     bigint not null,
    tag_id       bigint not null,
    published_at bigint,
    constraint post_tags_pkey primary key (post_id, position),
    constraint post_tags_post_id_tag_id_key unique (post_id, tag_id),
    constraint post_tags_post_id_fkey foreign key (post_id) references posts (id),
    constraint post_tags_tag_id_fkey foreign key (tag_id) references tags (id),
    index post_tags_tag_id_published_at_idx (tag_id, published_at, post_id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

-- Addresses that posts had. A live post that takes one of them takes it out of here.
create table if not exists slug_history (
    slug       varchar(100) not null,
    post_id    bigint       not null,
    created_at bigint       not null,
    constraint slug_history_pkey primary key (slug),
    constraint slug_history_post_id_fkey foreign key (post_id) references posts (id),
    index slug_history_post_id_idx (post_id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

-- Old paths from elsewhere.
create table if not exists redirects (
    path       varbinary(1024) not null,
    post_id    bigint          not null,
    created_at bigint          not null,
    constraint redirects_pkey primary key (path),
    constraint redirects_post_id_fkey foreign key (post_id) references posts (id),
    index redirects_post_id_idx (post_id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists imports (
    source      varchar(255)  not null,
    "key"       varchar(512)  not null,
    post_id     bigint        not null,
    fingerprint varbinary(64) not null,
    constraint imports_pkey primary key (source, "key"),
    constraint imports_post_id_fkey foreign key (post_id) references posts (id),
    index imports_post_id_idx (post_id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists outbox (
    change_seq bigint       not null,
    event_id   varchar(64)  not null,
    kind       varchar(64)  not null,
    subject    varchar(255) not null,
    entities   mediumtext   not null,
    payload    mediumtext   not null,
    request_id varchar(255) not null,
    at         bigint       not null,
    constraint outbox_pkey primary key (change_seq),
    constraint outbox_event_id_key unique (event_id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

-- How far each consumer has come, and who is at it until when.
create table if not exists outbox_cursors (
    consumer    varchar(255) not null,
    change_seq  bigint       not null,
    lease_owner varchar(255),
    lease_until bigint,
    constraint outbox_cursors_pkey primary key (consumer)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists idempotency_keys (
    scope       varchar(255)  not null,
    "key"       varchar(255)  not null,
    fingerprint varbinary(64) not null,
    status      bigint        not null,
    headers     mediumtext    not null,
    created_at  bigint        not null,
    expires_at  bigint        not null,
    body        longblob      not null,
    constraint idempotency_keys_pkey primary key (scope, "key"),
    index idempotency_keys_expires_at_idx (expires_at)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists audit_log (
    id         bigint       not null auto_increment,
    at         bigint       not null,
    actor_kind varchar(16)  not null,
    actor_id   bigint,
    action     varchar(64)  not null,
    subject    varchar(255) not null,
    request_id varchar(255) not null,
    details    mediumtext   not null,
    constraint audit_log_pkey primary key (id),
    constraint audit_log_actor_kind_check check (actor_kind in ('anonymous', 'user', 'operator')),
    index audit_log_subject_id_idx (subject, id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists sessions (
    id           bigint        not null auto_increment,
    user_id      bigint        not null,
    scopes       varchar(1000) not null,
    created_at   bigint        not null,
    last_used_at bigint        not null,
    expires_at   bigint        not null,
    revoked_at   bigint,
    constraint sessions_pkey primary key (id),
    constraint sessions_user_id_fkey foreign key (user_id) references users (id),
    index sessions_user_id_id_idx (user_id, id),
    index sessions_expires_at_idx (expires_at)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists refresh_tokens (
    hash       varbinary(64) not null,
    session_id bigint        not null,
    created_at bigint        not null,
    expires_at bigint        not null,
    used_at    bigint,
    constraint refresh_tokens_pkey primary key (hash),
    constraint refresh_tokens_session_id_fkey foreign key (session_id) references sessions (id),
    index refresh_tokens_session_id_idx (session_id)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists personal_tokens (
    id           bigint        not null auto_increment,
    user_id      bigint        not null,
    name         varchar(255)  not null,
    hint         varchar(64)   not null,
    hash         varbinary(64) not null,
    scopes       varchar(1000) not null,
    created_at   bigint        not null,
    expires_at   bigint        not null,
    last_used_at bigint,
    revoked_at   bigint,
    constraint personal_tokens_pkey primary key (id),
    constraint personal_tokens_hash_key unique (hash),
    constraint personal_tokens_user_id_fkey foreign key (user_id) references users (id),
    index personal_tokens_user_id_id_idx (user_id, id),
    index personal_tokens_expires_at_idx (expires_at)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists signing_keys (
    kid         varchar(255) not null,
    state       varchar(16)  not null,
    pkcs8       blob         not null,
    public      blob         not null,
    created_at  bigint       not null,
    state_since bigint       not null,
    constraint signing_keys_pkey primary key (kid),
    constraint signing_keys_state_check check (state in ('next', 'active', 'retired'))
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

-- failures: the times of the latest failures as a JSON array, oldest first, bounded.
create table if not exists login_throttles (
    "key"         varchar(255) not null,
    failures      text         not null,
    blocked_until bigint,
    expires_at    bigint       not null, -- when nothing in the row counts any more
    constraint login_throttles_pkey primary key ("key"),
    index login_throttles_expires_at_idx (expires_at)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

create table if not exists secrets (
    name  varchar(255) not null,
    value blob         not null,
    constraint secrets_pkey primary key (name)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;
