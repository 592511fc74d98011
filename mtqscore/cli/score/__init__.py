"""Commands on recordings: assess, explain, label."""
