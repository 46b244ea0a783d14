"""What is known and when: prices, point-in-time tables, calendars, and the view cut at a date."""
