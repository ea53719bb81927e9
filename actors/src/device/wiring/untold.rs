//! Who hears that the uplink had no room for what was to be sent: nobody waits for a slow link.

use super::Event;
use crate::{
    device::{io, twins, uplink},
    frame::ToCloud,
};

/// What follows when there is no room for a command. A batch is sent again by its delivery, which hears no
/// confirmation; a conversation that does not begin is begun again when its time is up.
#[must_use]
pub fn untold(command: io::Uplink) -> Option<Event> {
    match command {
        io::Uplink::Connect | io::Uplink::Close => None,
        io::Uplink::Together(frames) => Some(Event::Twins(twins::Event::Untold(frames))),
        io::Uplink::Send(frame) => match frame {
            // The time is asked for again, by and by.
            ToCloud::Hello(_) | ToCloud::Batch(_) | ToCloud::Clock { .. } => None,
            ToCloud::Report(_) => Some(Event::Uplink(uplink::Event::ReportUntold)),
            ToCloud::Answer(answer) => Some(Event::Uplink(uplink::Event::AnswerUntold(answer))),
            frame @ (ToCloud::TwinNames(_) | ToCloud::Twin(..) | ToCloud::TwinRefused { .. }) => {
                Some(Event::Twins(twins::Event::Untold(vec![frame])))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Answer;

    #[test]
    fn who_said_it_hears_of_it() {
        let answer = Answer { id: 1, result: Ok("x".into()) };
        let said = io::Uplink::Send(ToCloud::Answer(answer.clone()));
        assert_eq!(untold(said), Some(Event::Uplink(uplink::Event::AnswerUntold(answer))));
        let said = io::Uplink::Send(ToCloud::Report(Box::default()));
        assert_eq!(untold(said), Some(Event::Uplink(uplink::Event::ReportUntold)));
        let frames = vec![ToCloud::TwinNames(Vec::new())];
        let said = io::Uplink::Together(frames.clone());
        assert_eq!(untold(said), Some(Event::Twins(twins::Event::Untold(frames))));
        assert_eq!(untold(io::Uplink::Close), None);
    }
}
