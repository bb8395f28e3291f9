/// To come.
#[derive(Debug)]
pub struct SimFs;
/// To come.
#[derive(Debug)]
pub struct Loss;
