-- Work that one node at a time is to do: see core/src/lease.rs. All times are of the database's own
-- clock; the token grows each time the lease is given.
create table leases (
    name       text    not null,
    owner      text    not null,
    token      integer not null,
    held_since integer not null,
    held_until integer not null,
    done_at    integer,
    constraint leases_pkey primary key (name)
) strict, without rowid;
