//! The server's edge, through real sockets: every limit with the client that it is there for.

#[cfg(test)]
mod drain;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod flow;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
