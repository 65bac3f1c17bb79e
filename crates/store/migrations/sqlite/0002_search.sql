-- The words of every post that is not deleted, as its shown revision has them: `rowid` is the
-- post's id. The repository keeps it, in the transaction of each change.
--
-- Words are cut by the program (`inkstone_core::search`), so all that the tokenizer has to do is to
-- part them at spaces. Only the index is kept, not the words themselves: what was said stands in
-- `revisions`.
create virtual table posts_search using fts5 (
    title,
    excerpt,
    body,
    tokenize = 'ascii',
    content = '',
    contentless_delete = 1
);

-- words_of_text and words_of_html are functions of the program's own, there while migrations run.
insert into posts_search (rowid, title, excerpt, body)
select p.id, words_of_text(r.title), words_of_text(coalesce(r.excerpt, '')), words_of_html(r.html)
from posts p
join revisions r on r.post_id = p.id and r.number = p.revision
where p.status <> 'deleted';
