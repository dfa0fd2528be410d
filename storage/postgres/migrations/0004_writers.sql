-- Many processes go on with the stream: the row of `log` is moved by each append itself, and nobody's.
alter table log drop column sequencer;
comment on table log is 'One row: where the stream ends.';
