-- Version 3: which events were there before a run, so that the clock is not needed to tell. Runs of older versions have
-- none, and go by the clock.

ALTER TABLE runs ADD COLUMN events_before INTEGER;
