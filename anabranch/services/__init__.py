"""The steps that keep the service going: schedules, lost claims and drivers, late runs."""
