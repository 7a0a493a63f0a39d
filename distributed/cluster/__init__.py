"""The Ray session, refused where it would hang."""
