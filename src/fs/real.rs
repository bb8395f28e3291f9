/// The operating system's.
#[derive(Debug, Default, Clone, Copy)]
#[non_exhaustive]
pub struct RealFs;
