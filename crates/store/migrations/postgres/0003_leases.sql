-- Work that one node at a time is to do: see core/src/lease.rs. All times are of the database's own
-- clock; the token grows each time the lease is given.
create table leases (
    name       text collate "C" not null,
    owner      text collate "C" not null,
    token      bigint           not null,
    held_since bigint           not null,
    held_until bigint           not null,
    done_at    bigint,
    constraint leases_pkey primary key (name)
);
