-- The words of every post that is not deleted, as its shown revision has them: `rowid` is the
-- post's id. The repository keeps it, in the transaction of each change. No database of this kind
-- is older than the index, so there is nothing to fill in.
--
-- Words are cut by the program (`inkstone_core::search`) and stand apart by spaces; MariaDB's own
-- index of texts, which would cut them otherwise, is not asked. The texts say whether words stand
-- next to one another.
create table if not exists posts_search (
    rowid   bigint        not null,
    title   varchar(4000) not null,
    excerpt mediumtext    not null,
    body    longtext      not null,
    constraint posts_search_pkey primary key (rowid)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;

-- Which words there are, each once for a post; of words longer than anybody can search for, the
-- beginning. A post's words go with its texts.
create table if not exists posts_words (
    rowid bigint       not null,
    word  varchar(255) not null,
    constraint posts_words_pkey primary key (rowid, word),
    constraint posts_words_rowid_fkey foreign key (rowid) references posts_search (rowid) on delete cascade,
    index posts_words_word_rowid_idx (word, rowid)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;
