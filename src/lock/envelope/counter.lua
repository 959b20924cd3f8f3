local fence = redis.pcall('GET', KEYS[1])
fence = type(fence) == 'string' and tonumber(fence)
return {fence or -1}
