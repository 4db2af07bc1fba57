export function releaseCheck() {}
