//! Server-sent events out of bytes, however they are cut (WHATWG HTML s. 9.2.6).

/// Bytes an event may have; a longer one is damage, not an event.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Message {
    /// What it is called; empty if it has no name.
    pub(super) event: String,
    pub(super) data: String,
}

/// The event is longer than any may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Takes bytes as they come, gives events as they are whole.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte ended a line with CR: an LF right after it ends none.
    after_cr: bool,
    message: Message,
    has_data: bool,
    /// Counts once its event is whole: a stream cut before that resumes in front of the event.
    next_id: Option<String>,
    last_id: Option<String>,
}

impl Parser {
    /// The id of the last whole event, which the stream resumes behind.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Takes the next byte; an event, if it ends one.
    pub(super) fn take(&mut self, byte: u8) -> Result<Option<Message>, TooLong> {
        let follows_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match byte {
            b'\n' if follows_cr => Ok(None),
            b'\n' | b'\r' => Ok(self.end_line()),
            _ if self.line.len() + self.message.data.len() >= EVENT_BYTES_MAX => Err(TooLong),
            _ => {
                self.line.push(byte);
                Ok(None)
            }
        }
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.last_id = self.next_id.take().or(self.last_id.take());
            let message = std::mem::take(&mut self.message);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.next_id = Some(value.to_owned()),
            // Comments keep the connection warm; what is not known is for others.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<String>) {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for byte in chunks.into_iter().flatten() {
            found.extend(parser.take(*byte).unwrap());
        }
        (found, parser.last_id)
    }

    fn message(event: &str, data: &str) -> Message {
        Message { event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn an_event_has_its_name_its_data_and_its_id() {
        let (found, id) = parse([b": live\n\nid: c1\nevent: tenant.created\ndata: {}\n\n".as_slice()]);

        assert_eq!(found, [message("tenant.created", "{}")]);
        assert_eq!(id.as_deref(), Some("c1"));
    }

    #[test]
    fn an_id_alone_moves_the_place_without_an_event() {
        let (found, id) = parse([b"id:c2\n\n".as_slice()]);

        assert_eq!((found.as_slice(), id.as_deref()), ([].as_slice(), Some("c2")));
    }

    #[test]
    fn an_event_cut_off_behind_its_id_is_not_counted_as_seen() {
        let (_, id) = parse([b"id: c1\ndata: 1\n\nid: c2\ndata: 2\n".as_slice()]);

        assert_eq!(id.as_deref(), Some("c1"));
    }

    #[test]
    fn lines_of_data_are_joined_and_an_unfinished_event_is_none() {
        let (found, _) = parse([b"data: a\ndata:b\ndata\n\ndata: cut off".as_slice()]);

        assert_eq!(found, [message("", "a\nb\n")]);
    }

    #[test]
    fn an_event_without_end_is_refused_before_it_fills_the_memory() {
        let mut parser = Parser::default();

        let refused = std::iter::repeat_n(b'x', EVENT_BYTES_MAX + 1).any(|byte| parser.take(byte).is_err());

        assert!(refused);
    }

    proptest! {
        #[test]
        fn the_way_bytes_are_cut_and_lines_are_ended_changes_nothing(
            events in proptest::collection::vec(("[a-z.]{1,9}", "[ -~äöü]{1,30}", "[0-9a-f]{1,8}"), 0..6),
            ending in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            cuts in proptest::collection::vec(1usize..9, 1..200),
        ) {
            let mut text = String::new();
            for (event, data, id) in &events {
                text += &format!("id: {id}{ending}event: {event}{ending}data: {data}{ending}: beat{ending}{ending}");
            }
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, left) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = left;
            }
            chunks.push(rest);

            let (found, id) = parse(chunks);

            let sent: Vec<_> = events.iter().map(|(event, data, _)| message(event, data)).collect();
            prop_assert_eq!(found, sent);
            prop_assert_eq!(id, events.last().map(|(_, _, id)| id.clone()));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let mut parser = Parser::default();
            for byte in bytes {
                prop_assert!(parser.take(byte).is_ok());
            }
        }
    }
}
