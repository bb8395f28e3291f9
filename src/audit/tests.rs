use super::*;

fn event() -> Event {
    let mut event = Event::new(Action::Granted, Time::from_seconds(951_782_400));
    event.index = Some(7);
    event.by = "ops@prod".to_owned();
    event.secret = Some(SecretId::new("s1").unwrap());
    event.version = Some(2);
    event.service = Some(ServiceId::new("web").unwrap());
    event.detail = Some("a name\nof two lines".to_owned());
    event
}

#[test]
fn a_line_holds_every_field_and_is_one_line() {
    let line = event().to_string();
    let expected = "2000-02-29T00:00:00Z grant index=7 by=ops@prod secret=s1 version=2 service=web \
                    detail=\"a name\\nof two lines\"";
    assert_eq!(line, expected);
}

#[test]
fn what_is_encoded_decodes_and_what_is_cut_does_not() {
    let bytes = event().encode();
    assert_eq!(Event::decode(&bytes).unwrap(), event());
    for len in 0..bytes.len() {
        assert!(Event::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
    assert!(Event::decode(&[&bytes[..], &[0]].concat()).is_err());
}
