-- The words of every post that is not deleted, as its shown revision has them: `rowid` is the
-- post's id. The repository keeps it, in the transaction of each change. No database of this kind
-- is older than the index, so there is nothing to fill in.
--
-- Words are cut by the program (`inkstone_core::search`) and stand apart by spaces; PostgreSQL's
-- own parser, which would cut them otherwise, is not asked. The index knows which words there are;
-- whether they stand next to one another is looked up in the words themselves, since positions in
-- a tsvector end at 16,383.

-- The words of a text, each once. Of words longer than anybody can search for the beginning is
-- kept; of texts with more words than a tsvector holds, the first.
create function words_in(words text) returns tsvector
    language sql immutable parallel safe
    as $$
        select array_to_tsvector(array(
            select distinct left(w, 255)
            from unnest(string_to_array(
                case when octet_length(words) > 1000000 then left(words, 250000) else words end, ' ')) w
            where w <> ''))
    $$;

create table posts_search (
    rowid   bigint           not null,
    title   text collate "C" not null,
    excerpt text collate "C" not null,
    body    text collate "C" not null,
    lexemes tsvector         not null generated always as (words_in(title || ' ' || excerpt || ' ' || body)) stored,
    constraint posts_search_pkey primary key (rowid)
);

create index posts_search_lexemes_idx on posts_search using gin (lexemes);

-- The posts that an expression finds: `"ink on stone" AND "pres" *`, as SQLite's FTS5 takes it. In
-- the quotes are words, which hold neither quotes nor signs.
create function posts_search(expression text) returns table (rowid bigint)
    language plpgsql stable parallel safe
    as $$
    #variable_conflict use_column
    declare
        term      text;
        words     text;
        is_prefix boolean;
        looked    text := '';
        phrases   text[] := '{}';
    begin
        foreach term in array string_to_array(replace(expression, '"', ''), ' AND ') loop
            is_prefix := term like '% *';
            words := case when is_prefix then left(term, -2) else term end;
            if words = '' then
                return;
            end if;
            looked := looked || case when looked = '' then '' else ' & ' end
                || (select string_agg(quote_literal(w), ' & ') from unnest(string_to_array(words, ' ')) w)
                || case when is_prefix then ':*' else '' end;
            if words like '% %' then
                phrases := phrases || (' ' || words || case when is_prefix then '' else ' ' end);
            end if;
        end loop;
        if looked = '' then
            return;
        end if;
        return query
            select s.rowid
            from posts_search s
            where s.lexemes @@ cast(looked as tsquery)
              and not exists (
                  select 1
                  from unnest(phrases) p
                  where position(p in ' ' || s.title || ' ') = 0
                    and position(p in ' ' || s.excerpt || ' ') = 0
                    and position(p in ' ' || s.body || ' ') = 0);
    end
    $$;
