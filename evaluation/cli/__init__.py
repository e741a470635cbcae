"""The command line `car`: the application, one module per command, options, exit statuses."""
