//! Which of the bytes written to an HTTP/2 client belong to answers.

/// The length of a frame's head (RFC 9113 section 4.1).
const HEAD: usize = 9;

/// The kind of the frames that answers' bodies consist of.
const DATA: u8 = 0;

/// Follows the frames of one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct FrameFollower {
    head: [u8; HEAD],
    /// How much of `head` is known.
    known: usize,
    /// What is to come of the frame that `head` began.
    left: usize,
}

impl FrameFollower {
    /// Takes the next bytes, and says whether some of them were of a body.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_data = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = self.left.min(bytes.len());
                self.left -= here;
                bytes = &bytes[here..];
                has_data |= self.head[3] == DATA;
                continue;
            }
            let here = (HEAD - self.known).min(bytes.len());
            self.head[self.known..self.known + here].copy_from_slice(&bytes[..here]);
            self.known += here;
            bytes = &bytes[here..];
            if self.known == HEAD {
                self.known = 0;
                self.left =
                    usize::from(self.head[0]) << 16 | usize::from(self.head[1]) << 8 | usize::from(self.head[2]);
            }
        }
        has_data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        [&[0, 0, length, kind, 0, 0, 0, 0, 1][..], &vec![0; usize::from(length)]].concat()
    }

    #[test]
    fn only_the_payload_of_data_is_of_a_body() {
        // HEADERS, an empty DATA, PING.
        let without = [frame(1, 20), frame(0, 0), frame(6, 8)].concat();
        let with = frame(0, 3);
        for size in [1, 2, 5, 9, 100] {
            let mut follower = FrameFollower::default();
            let mut follow = |bytes: &[u8]| bytes.chunks(size).filter(|piece| follower.follow(piece)).count();
            assert_eq!(follow(&without), 0, "in pieces of {size}");
            assert!(follow(&with) > 0, "in pieces of {size}");
            assert_eq!(follow(&without), 0, "in pieces of {size}");
        }
    }

    #[test]
    fn long_frames_are_followed_to_their_end() {
        let mut follower = FrameFollower::default();
        assert!(!follower.follow(&[1, 2, 3, 0, 0, 0, 0, 0, 1]));
        assert!(follower.follow(&vec![0; 0x01_02_03]));
        assert!(!follower.follow(&frame(6, 8)));
    }
}
