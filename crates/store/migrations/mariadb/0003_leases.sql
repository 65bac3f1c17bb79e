-- Work that one node at a time is to do: see core/src/lease.rs. All times are of the database's own
-- clock; the token grows each time the lease is given.
create table if not exists leases (
    name       varchar(255) not null,
    owner      varchar(255) not null,
    token      bigint       not null,
    held_since bigint       not null,
    held_until bigint       not null,
    done_at    bigint,
    constraint leases_pkey primary key (name)
) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin;
