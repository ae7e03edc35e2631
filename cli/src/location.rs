//! Places of shards as people write them: `server/database`, `server,1433/database`, `tcp:server,1433/database`.

use shardlet::{Place, Protocol, ShardLocation};

/// How protocols are written.
const PROTOCOLS: [(&str, Protocol); 3] =
    [("tcp:", Protocol::Tcp), ("np:", Protocol::NamedPipes), ("lpc:", Protocol::SharedMemory)];

/// The place that a text names. For `clap`.
pub(crate) fn parse(text: &str) -> Result<ShardLocation, String> {
    let (server, database) = text.split_once('/').ok_or("a shard is named SERVER/DATABASE")?;
    let found = PROTOCOLS.iter().find_map(|(prefix, protocol)| Some((server.strip_prefix(prefix)?, *protocol)));
    let (server, protocol) = found.unwrap_or((server, Protocol::Default));
    let (server, port) = match server.rsplit_once(',') {
        Some((server, port)) => {
            let number: u16 = port.parse().ok().filter(|port| *port > 0).ok_or("a port is a number from 1 to 65535")?;
            (server, number)
        }
        None => (server, 0),
    };
    let location = ShardLocation::new(server, database).with_protocol(protocol).with_port(port);
    location.check().map_err(|error| error.to_string())?;
    Ok(location)
}

/// The text that names a place.
pub(crate) fn show(location: &ShardLocation) -> String {
    format!("{}/{}", location.data_source(), location.database())
}

/// The text of a store's place.
pub(crate) fn show_place(place: &Place) -> String {
    match place {
        Place::Shard(location) => show(location),
        _ => "global store".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for text in
            ["server/db", "server,1433/db", "tcp:server/db", "np:s,1/d", r"host\instance/db/with/slashes", "lpc:s/d"]
        {
            assert_eq!(show(&parse(text).unwrap()), text);
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for text in ["", "server", "server/", "/db", "server,0/db", "server,x/db", "server,65536/db", "server,/db"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
